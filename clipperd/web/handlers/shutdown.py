"""``POST /v1/shutdown``: the owner stops the daemon."""

from __future__ import annotations

import msgspec
from aiohttp import web

from clipperd.web.access import OWNER
from clipperd.web.errors import OwnerOnly
from clipperd.web.keys import SHUTDOWN, ShutdownTime
from clipperd.web.routes import CALLER, Route, answer, parse_body


class ShutdownBody(msgspec.Struct, forbid_unknown_fields=True):
    """``now``: finish the requests in flight, then stop. ``idle``: stop once the queue is empty."""

    when: ShutdownTime = "now"


class Stopping(msgspec.Struct):
    """When the daemon stops."""

    when: ShutdownTime


async def _shut_down(request: web.Request) -> web.Response:
    if request[CALLER].client_id != OWNER.client_id:
        raise OwnerOnly("Only the owner can stop the daemon. Send the token of endpoint.json.")
    body = await parse_body(request, ShutdownBody)
    request.app[SHUTDOWN](body.when)
    return answer(Stopping(body.when), 202)


ROUTES: tuple[Route, ...] = (
    Route(
        "POST",
        "/v1/shutdown",
        _shut_down,
        "admin",
        "Stop the daemon, now or once the queue is idle",
        body=ShutdownBody,
        answers={202: Stopping},
        errors=(OwnerOnly,),
    ),
)
