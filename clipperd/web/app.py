"""Builds the application of the local API from the route table, and serves it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence

import msgspec
from aiohttp import web

import clipperd
from clipperd.clock import Clock
from clipperd.web import keys
from clipperd.web.access import Access
from clipperd.web.handlers import (
    clients,
    clips,
    convert,
    description,
    events,
    health,
    hello,
    notion,
    outlines,
    pages,
    queue,
    session,
    settings,
    shutdown,
    status,
)
from clipperd.web.middleware.chain import ORDER, add_security_headers
from clipperd.web.middleware.guard import LoopbackSite, server_log
from clipperd.web.routes import Route

SHELL_ROUTES: tuple[Route, ...] = tuple(
    route
    for module in (hello, status, health, events, clients, settings, shutdown, description, notion)
    for route in module.ROUTES
)
"""Routes outside session, pages and queue."""

ROUTES: tuple[Route, ...] = SHELL_ROUTES + tuple(
    route for module in (session, pages, outlines, clips, queue, convert) for route in module.ROUTES
)
"""The whole API."""


def create_app(
    *,
    routes: Sequence[Route],
    access: Access,
    clock: Clock,
    new_id: Callable[[], str],
    limits: keys.Limits | None = None,
) -> web.Application:
    """Put ``routes`` behind the middleware. Does no I/O.

    The caller sets the keys of ``web/keys.py`` that its routes read. ``new_id`` returns request
    ids.
    """
    limits = limits or keys.Limits()
    app = web.Application(
        middlewares=ORDER,
        client_max_size=limits.body_bytes + 1,  # aiohttp refuses this size and more
        handler_args={
            "access_log": None,
            "logger": server_log(),
            "keepalive_timeout": 75.0,
            "auto_decompress": False,  # a compressed body is refused, not unpacked
        },
    )
    table = {
        app.router.add_route(
            route.method, route.path, route.handler, expect_handler=_on_expect
        ): route
        for route in routes
    }
    app[keys.TABLE] = table
    app[keys.ACCESS] = access
    app[keys.CLOCK] = clock
    app[keys.NEW_ID] = new_id
    app[keys.LIMITS] = limits
    app[keys.ABOUT] = keys.About(
        clipperd.__version__, access.instance_id, clock.now(), clock.boot()
    )
    app.on_response_prepare.append(add_security_headers)
    app.on_shutdown.append(_end_streams)
    return app


async def _on_expect(_request: web.Request) -> web.StreamResponse | None:
    """Do not ask for the body yet: ``read_body`` does, after the token is checked."""
    return None


async def _end_streams(app: web.Application) -> None:
    if keys.EVENTS in app:
        await app[keys.EVENTS].close()


class Listening(msgspec.Struct, frozen=True):
    """The address of the running API."""

    port: int

    @property
    def url(self) -> str:
        """Return the base URL."""
        return f"http://127.0.0.1:{self.port}"


GRACE_S = 0.6
"""Seconds for open requests at shutdown; aiohttp waits twice as long, and a stop has 2 s."""


@contextlib.asynccontextmanager
async def listening(
    app: web.Application, *, port: int = 0, shutdown_timeout_s: float = GRACE_S
) -> AsyncIterator[Listening]:
    """Serve on 127.0.0.1 until the block ends. Raises OSError when ``port`` is taken.

    At the end: accepts no new connections, closes streams, and gives open requests twice
    ``shutdown_timeout_s``.
    """
    limits = app[keys.LIMITS]
    runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=shutdown_timeout_s)
    await runner.setup()
    try:
        site = LoopbackSite(
            runner,
            port,
            connections=limits.connections,
            header_timeout_s=limits.header_timeout_s,
        )
        await site.start()
        yield Listening(site.port)
    finally:
        await runner.cleanup()
