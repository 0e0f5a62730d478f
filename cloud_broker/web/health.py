"""Serves ``/healthz`` (the process answers) and ``/readyz`` (it can do its work)."""

from __future__ import annotations

import asyncio
import logging

from aiohttp import web

from cloud_broker.errors import DatabaseBusy, DatabaseFailed
from cloud_broker.storage.database import Database
from cloud_broker.storage.keycheck import rewrite_proofs
from cloud_broker.web.bodies import answer
from cloud_broker.web.keys import CLUSTER, DRAIN

log = logging.getLogger(__name__)
ROUTES = web.RouteTableDef()
WITHIN_S = 5.0  # seconds; load balancers rarely wait longer


class Readiness:
    """Tries the database as a call does: with a write that is committed."""

    def __init__(self, database: Database) -> None:
        """``database``: the result of the last try."""
        self._database = database
        self._trying: asyncio.Task[bool] | None = None
        self.database = True

    async def try_database(self) -> bool:
        """Return whether the database takes a write now; callers at the same time share a try."""
        if self._trying is None or self._trying.done():
            self._trying = asyncio.ensure_future(self._try())
        self.database = await asyncio.shield(self._trying)
        return self.database

    async def _try(self) -> bool:
        try:
            async with asyncio.timeout(WITHIN_S), self._database.transaction() as tx:
                await tx.give_up_after(lock_s=WITHIN_S / 2, statement_s=WITHIN_S / 2)
                await rewrite_proofs(tx)
        except DatabaseBusy:
            return True  # it answers
        except (DatabaseFailed, TimeoutError) as error:
            log.warning("The database takes no writes.", exc_info=error)
            return False
        return True


READINESS: web.AppKey[Readiness] = web.AppKey("readiness")


@ROUTES.get("/healthz")
async def healthz(_: web.Request) -> web.StreamResponse:
    """Answer without asking any dependency."""
    return answer({"ok": True})


@ROUTES.get("/readyz")
async def readyz(request: web.Request) -> web.StreamResponse:
    """Answer 200 while the database takes writes and no stop has begun, else 503."""
    checks = {
        "database": await request.app[READINESS].try_database(),
        "accepting": not request.app[DRAIN].has_begun,
    }
    ready = all(checks.values())
    # A broker without Redis stays ready: each broker takes its share of the limits.
    limits = "shared" if request.app[CLUSTER].is_shared() else "divided"
    body: dict[str, object] = {"ok": ready, "checks": checks, "limits": limits}
    trouble = request.app[CLUSTER].redis_trouble
    if trouble is not None:  # "ok", or a word of REMEDIES in cluster/redis.py
        body["redis"] = trouble() or "ok"
    return answer(body, status=200 if ready else 503)
