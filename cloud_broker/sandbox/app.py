"""Builds the sandbox as one aiohttp application."""

from __future__ import annotations

from collections.abc import AsyncIterator

from aiohttp import web

from cloud_broker.clock import Clock, SystemClock
from cloud_broker.sandbox.background import Background
from cloud_broker.sandbox.calls import Calls
from cloud_broker.sandbox.control.outgoing import Outgoing
from cloud_broker.sandbox.control.routes import Control, control_errors
from cloud_broker.sandbox.control.webhooks import Webhooks
from cloud_broker.sandbox.faults import Faults
from cloud_broker.sandbox.front import Front
from cloud_broker.sandbox.model import Config
from cloud_broker.sandbox.seed import plant
from cloud_broker.sandbox.view.authorize import Authorize
from cloud_broker.sandbox.view.pages import Pages
from cloud_broker.sandbox.world import World

WORLD: web.AppKey[World] = web.AppKey("world")
CALLS: web.AppKey[Calls] = web.AppKey("calls")
FAULTS: web.AppKey[Faults] = web.AppKey("faults")
BACKGROUND: web.AppKey[Background] = web.AppKey("background")
MOST_REQUEST_BYTES = 21 * 1024 * 1024  # one part of a file upload with its form


def create_app(
    world: World | None = None,
    *,
    clock: Clock | None = None,
    seed: int = 0,
    client_id: str = "sandbox-client",
    client_secret: str = "sandbox-secret",  # noqa: S107 (a sandbox has no secrets)
    rate_per_minute: int | None = 180,
    config: Config | None = None,
) -> web.Application:
    """Build the application; without ``world``, create one with the seed pages.

    ``rate_per_minute`` is the limit per token (None: no limit); ``config`` replaces it by a full
    configuration. ``clock`` and the other arguments apply only to a new world.
    """
    if world is None:
        world = World(
            clock or SystemClock(),
            seed=seed,
            client_id=client_id,
            client_secret=client_secret,
            config=config or Config(rate_per_token=rate_per_minute),
        )
        plant(world)
    calls, oauth_calls, faults = Calls(), Calls(), Faults(world.seed)
    background = Background(world.clock.sleep)
    outgoing = Outgoing()
    webhooks = Webhooks(world, background, outgoing.post)
    front = Front(world, calls, oauth_calls, faults, background)
    control = Control(world, calls, oauth_calls, faults, webhooks, background)
    pages = Pages(world)

    async def work(_: web.Application) -> AsyncIterator[None]:
        yield
        await background.close()
        await outgoing.close()

    app = web.Application(client_max_size=MOST_REQUEST_BYTES, middlewares=[control_errors])
    app[WORLD], app[CALLS], app[FAULTS], app[BACKGROUND] = world, calls, faults, background
    app.cleanup_ctx.append(work)
    app.router.add_routes(control.routes())
    app.router.add_get("/", pages.index, allow_head=False)
    app.router.add_get("/p/{page_id}", pages.show, allow_head=False)
    app.router.add_get("/v1/oauth/authorize", Authorize(world).handle, allow_head=False)
    app.router.add_route("*", "/v1/{rest:.*}", front.handle)
    return app
