"""Delivers webhooks: subscriptions, aggregation, signing, retries.

https://developers.notion.com/reference/webhooks, /reference/webhooks-events-delivery: HMAC-SHA256
over the raw body with the verification token as key, at most eight attempts with growing pauses,
events of one entity batched over a short window, no content in them.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import msgspec

from cloud_broker.clock import rfc3339
from cloud_broker.sandbox.background import Background
from cloud_broker.sandbox.control.bodies import WebhookBody
from cloud_broker.sandbox.errors import ControlError
from cloud_broker.sandbox.model import Change, Json, Node
from cloud_broker.sandbox.render import VERSIONS
from cloud_broker.sandbox.world import World

SIGNATURE = "X-Notion-Signature"
KEPT_DELIVERIES = 200
# These are sent immediately; all others are aggregated.
AT_ONCE = ("page.locked", "page.unlocked", "comment.")
Post = Callable[[str, bytes, Mapping[str, str]], Awaitable[int]]


def sign(token: str, body: bytes) -> str:
    """Return the signature header of a raw body."""
    return "sha256=" + hmac.new(token.encode(), body, hashlib.sha256).hexdigest()


@dataclass(slots=True)
class Subscription:
    """One subscription, with the changes of the current aggregation window."""

    id: str
    url: str
    events: tuple[str, ...]
    aggregation_s: float
    api_version: str
    token: str
    state: str = "pending"
    waiting: dict[tuple[str, str], list[Change]] = field(default_factory=dict)
    deliveries: deque[Json] = field(default_factory=lambda: deque(maxlen=KEPT_DELIVERIES))

    def wants(self, kind: str) -> bool:
        """Return whether the subscription includes this event type."""
        return self.state == "active" and ("*" in self.events or kind in self.events)

    def shown(self) -> Json:
        """Render for ``GET /_sandbox/webhooks``."""
        return {
            "id": self.id,
            "url": self.url,
            "events": list(self.events),
            "aggregation_ms": int(self.aggregation_s * 1000),
            "api_version": self.api_version,
            "state": self.state,
            "verification_token": self.token,
            "deliveries": list(self.deliveries),
        }


class Webhooks:
    """Sends the world's changes to the subscribers."""

    def __init__(self, world: World, background: Background, post: Post) -> None:
        """``post`` sends a body to an address and returns the status; 0 without an answer."""
        self._world = world
        self._background = background
        self._post = post
        self._subscriptions: dict[str, Subscription] = {}
        world.listeners.append(self._heard)

    def clear(self) -> None:
        """End all subscriptions."""
        self._subscriptions.clear()

    def shown(self) -> list[Json]:
        """Render all subscriptions."""
        return [each.shown() for each in self._subscriptions.values()]

    async def subscribe(self, body: WebhookBody) -> Json:
        """Create a subscription and send its handshake. Raises ControlError."""
        if body.api_version not in VERSIONS:
            raise ControlError(f"api_version is one of {', '.join(VERSIONS)}.")
        if not body.url.startswith(("http://", "https://")):
            raise ControlError("url is an http or https address.")
        made = Subscription(
            id=self._world.new_id(),
            url=body.url,
            events=tuple(body.events),
            aggregation_s=body.aggregation_ms / 1000,
            api_version=body.api_version,
            token=self._world.new_secret("secret_"),
        )
        self._subscriptions[made.id] = made
        raw = msgspec.json.encode({"verification_token": made.token})
        status = await self._post(made.url, raw, {})
        if body.verify and 200 <= status < 300:
            made.state = "active"
        return {**made.shown(), "handshake_status": status}

    def verify(self, subscription_id: str, token: str) -> Json:
        """Activate a subscription. Raises ControlError."""
        found = self._get(subscription_id)
        if not hmac.compare_digest(token.encode(), found.token.encode()):
            raise ControlError("That is not the token of the handshake.")
        found.state = "active"
        return found.shown()

    def remove(self, subscription_id: str) -> None:
        """End a subscription. Raises ControlError."""
        self._get(subscription_id)
        del self._subscriptions[subscription_id]

    def _get(self, subscription_id: str) -> Subscription:
        found = self._subscriptions.get(subscription_id)
        if found is None:
            raise ControlError(f"There is no webhook {subscription_id}.")
        return found

    def _heard(self, change: Change) -> None:
        for each in self._subscriptions.values():
            if not each.wants(change.type):
                continue
            key = (change.entity_id, change.type)
            first = key not in each.waiting
            each.waiting.setdefault(key, []).append(change)
            if first:
                wait_s = 0.0 if change.type.startswith(AT_ONCE) else each.aggregation_s
                self._background.start(self._tell(each, key, wait_s))

    async def _tell(self, each: Subscription, key: tuple[str, str], wait_s: float) -> None:
        """Wait for the window's end, then deliver, with retries until it is accepted."""
        await self._world.clock.sleep(wait_s)
        changes = each.waiting.pop(key)
        payload = self._payload(each, changes)
        config = self._world.config
        for attempt in range(1, config.webhook_attempts + 1):
            if each.id not in self._subscriptions:
                return
            raw = msgspec.json.encode({**payload, "attempt_number": attempt})
            status = await self._post(each.url, raw, {SIGNATURE: sign(each.token, raw)})
            each.deliveries.append(
                {"event_id": payload["id"], "type": key[1], "attempt": attempt, "status": status}
            )
            if 200 <= status < 300:
                return
            await self._world.clock.sleep(config.webhook_backoff_s * 2 ** (attempt - 1))

    def _payload(self, each: Subscription, changes: list[Change]) -> Json:
        last = changes[-1]
        workspace = self._world.workspaces[last.workspace_id]
        authors = dict.fromkeys(change.actor_id for change in changes)
        bots = {token.bot_id for token in self._world.tokens.values()}
        node = self._world.nodes.get(last.entity_id)
        seen_by = sorted(
            {
                token.bot_id
                for token in self._world.tokens.values()
                if token.client_id == self._world.own.client_id
                if node is not None and self._world.visible(node, token)
            }
        )
        return {
            "id": self._world.new_id(),
            "timestamp": rfc3339(last.at),
            "workspace_id": workspace.id,
            "workspace_name": workspace.name,
            "subscription_id": each.id,
            "integration_id": self._world.own.client_id,
            "type": last.type,
            "authors": [
                {"id": each_id, "type": "bot" if each_id in bots else "person"}
                for each_id in authors
            ],
            "accessible_by": [{"id": bot_id, "type": "bot"} for bot_id in seen_by],
            "attempt_number": 1,
            "api_version": each.api_version,
            "entity": {"id": last.entity_id, "type": last.entity},
            "data": self._data(changes, node),
        }

    def _data(self, changes: list[Change], node: Node | None) -> Json:
        data: Json = {}
        if node is not None:
            data["parent"] = self._parent(node)
        blocks = dict.fromkeys(each for change in changes for each in change.blocks)
        if changes[-1].type.endswith(".content_updated"):
            data["updated_blocks"] = [{"id": each, "type": "block"} for each in blocks]
        names = dict.fromkeys(each for change in changes for each in change.properties)
        if changes[-1].type.endswith(".properties_updated"):
            data["updated_properties"] = list(names)
        return data

    def _parent(self, node: Node) -> Json:
        kind, parent_id = node.parent
        if kind == "workspace":
            return {"id": node.workspace_id, "type": "space"}
        if kind == "data_source_id":
            database = self._world.nodes[parent_id].parent.id
            return {"id": database, "type": "database", "data_source_id": parent_id}
        return {"id": parent_id, "type": kind.removesuffix("_id")}
