"""Two users of one broker: one asks with his own token for the other's things."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import jwt
from aiohttp import FormData

from cloud_broker.clock import SystemClock, rfc3339
from cloud_broker.sandbox.app import WORLD
from cloud_broker.sandbox.seed import (
    DATA_SOURCE,
    DATABASE,
    JONAS,
    MIRA,
    OTHER_WORKSPACE,
    READING_LIST,
    WORKSPACE,
)
from tests.security.answers import Findings, no_problem
from tests.security.canaries import word
from tests.security.whole_system import WholeSystem, a_house

PROXY = "/api/notion/proxy/v1"
WEBHOOK_TOKEN = "the-token-of-the-subscription"
Reply = tuple[int, dict[str, str], Any]


@dataclass(frozen=True)
class Asked:
    """A request; ``{kind}`` anywhere in it stands for an id of that kind."""

    method: str
    path: str
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    is_form: bool = False

    def filled(self, ids: Mapping[str, str]) -> Asked:
        text = json.dumps([self.path, self.body, dict(self.headers)])
        for kind, value in ids.items():
            text = text.replace(f"{{{kind}}}", value)
        path, body, headers = json.loads(text)
        return replace(self, path=path, body=body, headers=headers)


@dataclass
class TwoPeople:
    """Jonas, who asks; of Mira the ids by kind, and words that only she may read."""

    house: WholeSystem
    token: str
    mira: dict[str, Any]
    hers: dict[str, str]
    words: frozenset[str]
    found: Findings = field(default_factory=Findings)

    async def ask(self, asked: Asked, token: str | None = None) -> Reply:
        """Ask as Jonas; nothing of Mira's is in the answer but what he has sent himself."""
        more: dict[str, Any] = {"headers": asked.headers}
        if asked.is_form:
            more["data"] = FormData({"file": "bytes"}, default_to_multipart=True)
        elif asked.body is not None:
            more["json"] = asked.body
        answer = await self.house.ask(asked.method, asked.path, token=token or self.token, **more)
        for secret in self.words | set(self.hers.values()):
            if secret not in str(asked) and secret in str(answer):
                self.found.check(f"{asked.method} {asked.path}", f"shows {secret!r} of hers")
        return answer

    async def refused(self, asked: Asked, *allowed: int) -> None:
        """See that what is hers is refused with a status ``allowed``, as if it were nobody's.

        Whoever can tell hers from nobody's has learnt that it exists.
        """
        where = f"{asked}"
        mine = await self.ask(asked.filled(self.hers))
        nobodys = {kind: str(uuid4()) for kind in self.hers}
        unknown = await self.ask(asked.filled(nobodys))
        self.found.check(where, no_problem(*mine, *allowed))
        if _bare(mine, self.hers) != _bare(unknown, nobodys):
            self.found.check(where, f"tells hers from nobody's: {mine} {unknown}")

    def tokens_of(self, user_id: str) -> set[str]:
        """The Authorization headers under which a person's calls go out."""
        tokens = self.house.notion[WORLD].tokens.values()
        return {f"Bearer {each.access}" for each in tokens if each.user_id == user_id}

    async def changed(self, workspace_id: str, page_id: str) -> None:
        """Have Notion tell the broker that a page has changed."""
        event = {
            "id": str(uuid4()),
            "timestamp": rfc3339(SystemClock().now()),
            "workspace_id": workspace_id,
            "type": "page.content_updated",
            "entity": {"id": page_id, "type": "page"},
        }
        raw = json.dumps(event).encode()
        mac = hmac.new(WEBHOOK_TOKEN.encode(), raw, hashlib.sha256).hexdigest()
        headers = {"X-Notion-Signature": f"sha256={mac}", "Content-Type": "application/json"}
        answer = await self.house.ask("POST", "/api/notion/webhook", data=raw, headers=headers)
        assert answer[2] == {"outcome": "taken"}, answer

    async def jonas(self) -> str:
        """Sign Jonas in once more; return the access token."""
        return str((await self.house.person("jonas@example.com", OTHER_WORKSPACE))["access_token"])


def _bare(answer: Reply, ids: Mapping[str, str]) -> str:
    """An answer without what differs from one to the next anyhow."""
    status, headers, body = answer
    text = json.dumps([status, sorted(headers), headers.get("ETag"), body])
    for value in ids.values():
        text = text.replace(value, "ID").replace(value.replace("-", ""), "ID")
    return re.sub(r'"request_id": "[^"]*"', "", text)


@asynccontextmanager
async def two_people(folder: Path, **changes: str) -> AsyncIterator[TwoPeople]:
    """A house with both signed in, and something of Mira's of every kind."""
    changes = {
        "BROKER_WEBHOOK_TOKEN": WEBHOOK_TOKEN,
        "BROKER_PUSH_POLL_S": "0.2",
        "BROKER_BILLING_SECRETS": "whsec_that_nobody_signs_with",
        "BROKER_BILLING_TIERS": "price_1:PRO",
    } | changes
    async with a_house(folder, **changes) as house:
        mira = await house.person("mira@example.com", WORKSPACE, device="miras-own-desk")
        two = TwoPeople(house, "", mira, {}, frozenset())
        two.token = await two.jonas()
        text = word("miraswords")
        claims = jwt.decode(mira["access_token"], options={"verify_signature": False})
        upload = await _as_mira(two, "POST", "/file_uploads", {"mode": "single_part"})
        block = {"type": "paragraph", "paragraph": {"rich_text": [{"text": {"content": text}}]}}
        made = await _as_mira(
            two, "PATCH", f"/blocks/{READING_LIST}/children", {"children": [block]}
        )
        two.hers = {
            "session": claims["sid"],
            "user": claims["sub"],
            "workspace": WORKSPACE,
            "page": READING_LIST,
            "block": made["results"][0]["id"],
            "database": DATABASE,
            "data_source": DATA_SOURCE,
            "file_upload": upload["id"],
        }
        names = {"Mira", "mira@example.com", "Reading list", "miras-own-desk", text}
        secrets = {mira["access_token"], mira["refresh_token"], mira["workspaces"][0]["bot_id"]}
        two.words = frozenset(names | secrets)
        assert two.tokens_of(MIRA)
        assert two.tokens_of(JONAS)
        yield two


async def _as_mira(two: TwoPeople, method: str, path: str, body: Any) -> Any:
    token = two.mira["access_token"]
    status, _, answer = await two.house.ask(method, PROXY + path, token=token, json=body)
    assert status == 200, answer
    return answer
