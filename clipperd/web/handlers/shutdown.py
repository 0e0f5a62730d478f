"""``POST /v1/shutdown``: the owner ends the daemon."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec
from aiohttp import web

from clipperd.web.middleware.access import OWNER
from clipperd.web.middleware.errors import OwnerOnly
from clipperd.web.routes import CALLER, Route, answer, read_body

When = Literal["now", "idle"]

SHUTDOWN: web.AppKey[Callable[[When], None]] = web.AppKey("shutdown")
"""Called with ``now`` (finish what is under way, then stop) or ``idle`` (once nothing waits)."""


class ShutdownBody(msgspec.Struct, forbid_unknown_fields=True):
    """When to stop."""

    when: When = "now"


async def _shutdown(request: web.Request) -> web.Response:
    if request[CALLER].client_id != OWNER.client_id:
        raise OwnerOnly("Ending the daemon takes the owner's token, that of endpoint.json.")
    body = await read_body(request, ShutdownBody)
    request.app[SHUTDOWN](body.when)
    return answer(body, 202)


ROUTES: tuple[Route, ...] = (
    Route(
        "POST",
        "/v1/shutdown",
        _shutdown,
        "admin",
        "Stop the daemon, now or once nothing waits",
        body=ShutdownBody,
        answers={202: ShutdownBody},
        errors=(OwnerOnly,),
    ),
)
