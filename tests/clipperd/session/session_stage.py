"""A daemon's session side, wired as the composition root wires it, against a fake broker."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from yarl import URL

from clipperd.broker.auth import BrokerAuth
from clipperd.broker.client import BrokerClient
from clipperd.broker.connectivity import Connectivity
from clipperd.broker.http import AiohttpHttp
from clipperd.keychain.secrets import Secrets
from clipperd.keychain.system import MemorySecrets
from clipperd.model import Scope
from clipperd.notion.broker import BrokerNotion
from clipperd.session.accounts import Accounts
from clipperd.session.login import Logins, Purpose, ReturnTo, read_answer
from clipperd.session.schema import SESSION_STEPS
from clipperd.session.session import Session
from clipperd.session.view import SessionView
from clipperd.storage.database import Database
from clipperd.storage.migration import Step
from tests.clipperd.fake_broker import WORKSPACE_A, FakeBroker, Person
from tests.clocks import ManualClock

ADA = Scope("user-ada", WORKSPACE_A)


@dataclass
class SessionStage:
    """Everything a test looks at."""

    session: Session
    notion: BrokerNotion
    client: BrokerClient
    accounts: Accounts
    logins: Logins
    connectivity: Connectivity
    clock: ManualClock
    secrets: Secrets
    db: Database
    published: asyncio.Queue[dict[str, Any]] = field(default_factory=asyncio.Queue)

    async def sign_in(
        self,
        broker: FakeBroker,
        person: Person,
        *,
        return_to: ReturnTo = "app",
        purpose: Purpose = "sign_in",
    ) -> SessionView:
        """The whole sign-in, the person agreeing at once."""
        started = await self.session.start_login(return_to, purpose)
        back = broker.answer_login(started.login_url, person)
        return await self.session.finish_login(read_answer(back))

    def last_published(self) -> dict[str, Any]:
        """The newest session event; the older ones are dropped."""
        event = self.published.get_nowait()
        while not self.published.empty():
            event = self.published.get_nowait()
        return event


@asynccontextmanager
async def running_world(
    folder: Path,
    broker: URL | None,
    *,
    kept: Secrets | None = None,
    clock: ManualClock | None = None,
    port: int = 4711,
    steps: Sequence[Step] = (),
) -> AsyncIterator[SessionStage]:
    """Open a session on ``folder``/outbox.db; leave it as a daemon that ends would."""
    db = Database.open(
        folder / "outbox.db", name="outbox", steps=[*SESSION_STEPS, *steps], synchronous="NORMAL"
    )
    clock = clock or ManualClock()
    kept = kept or MemorySecrets()
    http = AiohttpHttp()
    connectivity = Connectivity(clock, has_broker=broker is not None)
    client = BrokerClient(broker, http, connectivity, clock)
    accounts = Accounts(db, clock)
    logins = Logins(
        db,
        clock,
        broker=broker or URL(),
        port=lambda: port,
        device="here",
        random=secrets.token_bytes,
    )
    published: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    session = Session(
        accounts=accounts,
        logins=logins,
        auth=BrokerAuth(client),
        secrets=kept,
        connectivity=connectivity,
        clock=clock,
        publish=lambda kind, data: published.put_nowait({"type": kind, **data}),
    )
    await session.open()
    try:
        notion = BrokerNotion(client, session)
        yield SessionStage(
            session, notion, client, accounts, logins, connectivity, clock, kept, db, published
        )
    finally:
        await session.close()
        await http.close()
        db.close()
