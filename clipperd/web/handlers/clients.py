"""``/v1/clients``: creates, lists and revokes named clients with their tokens."""

from __future__ import annotations

from typing import Annotated, Literal, cast

import msgspec
from aiohttp import web

from clipperd.clock import rfc3339
from clipperd.errors import ClientNameTaken, NotFound, StorageFull
from clipperd.web.keys import ACCESS
from clipperd.web.routes import Route, answer, parse_body
from clipperd.web.tokens import ApiToken

ScopeName = Annotated[Literal["read", "clip", "admin"], msgspec.Meta(title="Scope")]


class NewClient(msgspec.Struct, forbid_unknown_fields=True):
    """``admin`` includes the other scopes; ``clip`` does not include ``read``."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=80, pattern="\\S")]
    scopes: Annotated[list[ScopeName], msgspec.Meta(min_length=1)]


class ClientView(msgspec.Struct):
    """A named client. Times are RFC 3339."""

    id: str
    name: str
    scopes: list[ScopeName]
    created_at: str
    last_used_at: str | None


class ClientList(msgspec.Struct):
    """All named clients, oldest first."""

    clients: list[ClientView]


class MadeClient(ClientView):
    """A new client with its token, which no other answer holds."""

    token: str


def _view(client: ApiToken) -> ClientView:
    return ClientView(
        id=client.id,
        name=client.name,
        scopes=cast(list[ScopeName], list(client.scopes)),
        created_at=rfc3339(client.created_at),
        last_used_at=None if client.last_used_at is None else rfc3339(client.last_used_at),
    )


async def _list_clients(request: web.Request) -> web.Response:
    return answer(ClientList([_view(client) for client in request.app[ACCESS].tokens.all()]))


async def _create_client(request: web.Request) -> web.Response:
    body = await parse_body(request, NewClient)
    client, token = await request.app[ACCESS].tokens.create(body.name.strip(), body.scopes)
    view = _view(client)
    return answer(MadeClient(**msgspec.structs.asdict(view), token=token), 201)


async def _revoke_client(request: web.Request) -> web.Response:
    await request.app[ACCESS].tokens.revoke(request.match_info["client_id"])
    return web.Response(status=204)


ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/v1/clients",
        _list_clients,
        "admin",
        "List the named clients",
        answers={200: ClientList},
    ),
    Route(
        "POST",
        "/v1/clients",
        _create_client,
        "admin",
        "Create a named client; only this answer holds its token",
        body=NewClient,
        answers={201: MadeClient},
        errors=(ClientNameTaken, StorageFull),
    ),
    Route(
        "DELETE",
        "/v1/clients/{client_id}",
        _revoke_client,
        "admin",
        "Revoke a client and end its open streams",
        answers={204: None},
        errors=(NotFound, StorageFull),
    ),
)
