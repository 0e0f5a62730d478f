"""Handles the routes under ``/_sandbox``; docs/sandbox.md shows each with curl."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Any

import msgspec
from aiohttp import web

from cloud_broker.clock import from_rfc3339, rfc3339
from cloud_broker.sandbox import grants
from cloud_broker.sandbox.background import Background
from cloud_broker.sandbox.calls import Calls
from cloud_broker.sandbox.control import edits
from cloud_broker.sandbox.control.bodies import (
    ClockBody,
    ConfigBody,
    EditBody,
    IntegrationBody,
    PageBody,
    RevokeBody,
    RulesBody,
    ShareBody,
    TokenBody,
    VerifyBody,
    WebhookBody,
    answer,
    read,
)
from cloud_broker.sandbox.control.webhooks import Webhooks
from cloud_broker.sandbox.errors import ControlError
from cloud_broker.sandbox.faults import Faults, RuleBody
from cloud_broker.sandbox.model import ALL_CAPABILITIES, Integration, Json, Page
from cloud_broker.sandbox.render import NEW, Renderer
from cloud_broker.sandbox.seed import plant
from cloud_broker.sandbox.world import World

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Control:
    """The objects that the control routes act on."""

    world: World
    calls: Calls
    oauth_calls: Calls
    faults: Faults
    webhooks: Webhooks
    background: Background

    def routes(self) -> list[web.RouteDef]:
        """List the routes under /_sandbox."""
        return [
            web.get("/_sandbox/calls", self.get_calls, allow_head=False),
            web.delete("/_sandbox/calls", self.delete_calls),
            web.get("/_sandbox/faults", self.get_faults, allow_head=False),
            web.post("/_sandbox/faults", self.post_faults),
            web.delete("/_sandbox/faults", self.delete_faults),
            web.delete("/_sandbox/faults/{fault_id}", self.delete_fault),
            web.get("/_sandbox/clock", self.get_clock, allow_head=False),
            web.post("/_sandbox/clock", self.post_clock),
            web.get("/_sandbox/config", self.get_config, allow_head=False),
            web.patch("/_sandbox/config", self.patch_config),
            web.post("/_sandbox/edit", self.post_edit),
            web.get("/_sandbox/pages", self.get_pages, allow_head=False),
            web.post("/_sandbox/pages", self.post_page),
            web.get("/_sandbox/pages/{page_id}/blocks", self.get_blocks, allow_head=False),
            web.post("/_sandbox/reset", self.post_reset),
            web.post("/_sandbox/settle", self.post_settle),
            web.post("/_sandbox/share", self.post_share),
            web.post("/_sandbox/tokens", self.post_token),
            web.get("/_sandbox/integrations", self.get_integrations, allow_head=False),
            web.post("/_sandbox/integrations", self.post_integration),
            web.post("/_sandbox/revoke", self.post_revoke),
            web.get("/_sandbox/webhooks", self.get_webhooks, allow_head=False),
            web.post("/_sandbox/webhooks", self.post_webhook),
            web.post("/_sandbox/webhooks/{webhook_id}/verify", self.post_verify),
            web.delete("/_sandbox/webhooks/{webhook_id}", self.delete_webhook),
            web.get("/_sandbox/files/{upload_id}", self.get_file, allow_head=False),
        ]

    async def get_calls(self, _: web.Request) -> web.Response:
        """Return counts and details; OAuth calls under ``oauth``."""
        return answer({**self.calls.shown(), "oauth": self.oauth_calls.shown()})

    async def delete_calls(self, _: web.Request) -> web.Response:
        """Reset the counts."""
        self.calls.clear()
        self.oauth_calls.clear()
        return answer({"total": 0})

    async def get_faults(self, _: web.Request) -> web.Response:
        """Return the active rules with their counts."""
        return answer({"rules": [rule.shown() for rule in self.faults.rules.values()]})

    async def post_faults(self, request: web.Request) -> web.Response:
        """Add one rule, or several under ``rules``; ``on`` counts calls from now."""
        raw = await request.read()
        if b'"rules"' in raw:
            body = await read(request, RulesBody)
        else:
            body = RulesBody([await read(request, RuleBody)])
        if body.replace or body.seed is not None:
            kept = [] if body.replace else list(self.faults.rules.values())
            self.faults.clear(body.seed)
            self.faults.rules.update({rule.id: rule for rule in kept})
        return answer({"rules": [self.faults.add(rule).shown() for rule in body.rules]}, 201)

    async def delete_faults(self, _: web.Request) -> web.Response:
        """Remove all rules."""
        self.faults.clear()
        return answer({"rules": []})

    async def delete_fault(self, request: web.Request) -> web.Response:
        """Remove one rule."""
        self.faults.remove(request.match_info["fault_id"])
        return answer({})

    async def get_clock(self, _: web.Request) -> web.Response:
        """Return the sandbox's time."""
        return answer(self._clock())

    async def post_clock(self, request: web.Request) -> web.Response:
        """Shift, set, advance, stop or start the clock."""
        body = await read(request, ClockBody)
        clock = self.world.clock
        if body.offset_s is not None:
            clock.shift(body.offset_s)
        if body.stopped is not None:
            (clock.stop if body.stopped else clock.start)()
        if body.now is not None:
            clock.set(_moment(body.now))
        if body.advance_s is not None:
            clock.set(clock.now() + body.advance_s)
        return answer(self._clock())

    async def get_config(self, _: web.Request) -> web.Response:
        """Return the settings."""
        return answer(asdict(self.world.config))

    async def patch_config(self, request: web.Request) -> web.Response:
        """Change settings."""
        body = await read(request, ConfigBody)
        values = {name: getattr(body, name) for name in body.__struct_fields__}
        if body.oauth_error_shape not in (msgspec.UNSET, "notion", "rfc6749"):
            raise ControlError("oauth_error_shape is notion or rfc6749.")
        if values["window_s"] is not msgspec.UNSET and not 0 < values["window_s"] < math.inf:
            raise ControlError("window_s is a number of seconds above 0.")
        if isinstance(values["burst"], int) and values["burst"] < 1:
            raise ControlError("burst is a number from 1, or null.")
        self.world.config.update({n: v for n, v in values.items() if v is not msgspec.UNSET})
        return answer(asdict(self.world.config))

    async def post_edit(self, request: web.Request) -> web.Response:
        """Apply a user's edit; return the block or page in Notion's form."""
        node = edits.edit(self.world, await read(request, EditBody))
        render = Renderer(self.world, NEW)
        return answer(render.page(node) if isinstance(node, Page) else render.block(node))

    async def get_pages(self, _: web.Request) -> web.Response:
        """Return all pages: id, title, parent."""
        found = [node for node in self.world.nodes.values() if isinstance(node, Page)]
        return answer({"pages": [_page_line(self.world, page) for page in found]})

    async def post_page(self, request: web.Request) -> web.Response:
        """Create a page from an outline; return ``{"id", "title", "blocks"}``."""
        page = edits.make_page(self.world, await read(request, PageBody))
        shown = {**_page_line(self.world, page), "blocks": edits.tree(self.world, page)}
        return answer(shown, 201)

    async def get_blocks(self, request: web.Request) -> web.Response:
        """Return the tree of a page or block, for assertions."""
        node = edits.known(self.world, request.match_info["page_id"])
        return answer({"id": node.id, "blocks": edits.tree(self.world, node)})

    async def post_reset(self, _: web.Request) -> web.Response:
        """Reset world, counts, faults, webhooks and clock."""
        self.world.clear()
        self.world.clock.start()
        self.world.clock.shift(0)
        plant(self.world)
        self.calls.clear()
        self.oauth_calls.clear()
        self.faults.clear()
        self.webhooks.clear()
        return answer({})

    async def post_settle(self, _: web.Request) -> web.Response:
        """Wait until late writes are applied and webhooks delivered."""
        await self.background.idle()
        return answer({})

    async def post_share(self, request: web.Request) -> web.Response:
        """Share or unshare; for one connection with ``bot_id``, else for all."""
        body = await read(request, ShareBody)
        node = edits.known(self.world, body.page_id)
        self.world.shares[(node.id, body.bot_id or "")] = body.shared
        return answer({"page_id": node.id, "shared": body.shared})

    async def post_token(self, request: web.Request) -> web.Response:
        """Mint a token pair directly."""
        body = await read(request, TokenBody)
        workspace_id = body.workspace_id or next(iter(self.world.workspaces))
        if workspace_id not in self.world.workspaces:
            raise ControlError(f"There is no workspace {workspace_id}.")
        if not set(body.capabilities) <= ALL_CAPABILITIES:
            raise ControlError(f"Known capabilities: {', '.join(sorted(ALL_CAPABILITIES))}.")
        if body.client_id is not None and body.client_id not in self.world.integrations:
            raise ControlError(f"There is no integration {body.client_id}.")
        user_id = edits.person(self.world, body.user_id, workspace_id)
        token = grants.mint(self.world, user_id, workspace_id, body.capabilities, body.client_id)
        return answer(grants.granted(self.world, token), 201)

    async def get_integrations(self, _: web.Request) -> web.Response:
        """Return the registered OAuth clients."""
        known = [asdict(each) for each in self.world.integrations.values()]
        return answer({"integrations": known})

    async def post_integration(self, request: web.Request) -> web.Response:
        """Register an OAuth client."""
        body = await read(request, IntegrationBody)
        made = Integration(
            body.client_id or self.world.new_id(),
            body.client_secret or self.world.new_secret("secret_"),
            body.name,
        )
        if made.client_id in self.world.integrations:
            raise ControlError(f"There is an integration {made.client_id} already.")
        self.world.integrations[made.client_id] = made
        return answer(asdict(made), 201)

    async def post_revoke(self, request: web.Request) -> web.Response:
        """Remove a connection; return the number of ended tokens."""
        body = await read(request, RevokeBody)
        mine = [token for token in self.world.tokens.values() if token.bot_id == body.bot_id]
        for token in mine:
            grants.revoke(self.world, token.access)
        return answer({"revoked": len(mine)})

    async def get_webhooks(self, _: web.Request) -> web.Response:
        """Return the subscriptions with their latest deliveries."""
        return answer({"webhooks": self.webhooks.shown()})

    async def post_webhook(self, request: web.Request) -> web.Response:
        """Subscribe: sends the handshake immediately; ``verify`` skips confirming its token."""
        return answer(await self.webhooks.subscribe(await read(request, WebhookBody)), 201)

    async def post_verify(self, request: web.Request) -> web.Response:
        """Confirm the handshake's token to activate the subscription."""
        body = await read(request, VerifyBody)
        return answer(
            self.webhooks.verify(request.match_info["webhook_id"], body.verification_token)
        )

    async def delete_webhook(self, request: web.Request) -> web.Response:
        """End a subscription."""
        self.webhooks.remove(request.match_info["webhook_id"])
        return answer({})

    async def get_file(self, request: web.Request) -> web.Response:
        """Return the bytes of an upload, until the URL expires."""
        upload = self.world.uploads.get(request.match_info["upload_id"])
        ends = request.query.get("expires", "")
        if upload is None or not ends.isdecimal() or int(ends) <= self.world.clock.now():
            return answer({"error": "This address has ended."}, 403)
        headers = {"Content-Disposition": "attachment", "X-Content-Type-Options": "nosniff"}
        return web.Response(
            body=upload.data(), content_type="application/octet-stream", headers=headers
        )

    def _clock(self) -> Json:
        clock = self.world.clock
        return {
            "now": rfc3339(clock.now()),
            "offset_s": round(clock.offset_s, 3),
            "stopped": clock.stopped,
        }


@web.middleware
async def control_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer an invalid control request with 400 and the reason."""
    try:
        return await handler(request)
    except ControlError as error:
        return answer({"error": str(error)}, 400)


def _page_line(world: World, page: Page) -> Json:
    return {
        "id": page.id,
        "title": world.title_of(page),
        "parent": {"type": page.parent.kind, "id": page.parent.id or None},
        "workspace_id": page.workspace_id,
        "in_trash": world.in_trash(page),
    }


def _moment(said: Any) -> float:
    if isinstance(said, str):
        try:
            return from_rfc3339(said)
        except ValueError as error:
            raise ControlError(str(error)) from error
    return float(said)
