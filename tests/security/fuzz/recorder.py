"""Plays Notion: signs users in, keeps every request, and answers as Notion might.

Each answer names the owner of the token, so that an answer to the wrong user is detected.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid5

import msgspec
from aiohttp import web

SOURCE_OF = UUID("5d0c1f6e-3f3c-4a53-9f4e-7d7b1f6f9a10")  # names the data source of a database


@dataclass(frozen=True, slots=True)
class Arrived:
    """One request as it stood on the wire. Header names in lower case."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


def notion_token(number: int) -> str:
    """The token of a person's connection."""
    return f"ntn_of_person_{number}_of_the_fuzz"


def workspace_of(number: int) -> str:
    """The id of a person's workspace."""
    return str(UUID(int=(0xF << 124) | number))


def source_of(database_id: str) -> str:
    """The id of a database's only data source."""
    return str(uuid5(SOURCE_OF, database_id))


class Recorder:
    """Keeps what arrives, by the person whose token it came with."""

    def __init__(self) -> None:
        self.arrived: dict[int, list[Arrived]] = {}
        self.strays: list[Arrived] = []
        self.signing_in = True

    def app(self) -> web.Application:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", self._take)
        return app

    def taken(self, person: int) -> list[Arrived]:
        """What came under a person's token since the last look."""
        return self.arrived.pop(person, [])

    async def _take(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        if self.signing_in and request.raw_path == "/v1/oauth/token":
            return _granted(int(msgspec.json.decode(body)["code"]))
        arrived = Arrived(
            request.method,
            request.raw_path,
            tuple(
                (n.decode("latin-1").lower(), v.decode("latin-1")) for n, v in request.raw_headers
            ),
            body,
        )
        person = _person(request.headers.getall("Authorization", []))
        if person is None:
            self.strays.append(arrived)
            return web.json_response({"object": "error"}, status=418)
        self.arrived.setdefault(person, []).append(arrived)
        return web.json_response(_answer(request.method, request.path, body) | {"person": person})


def _person(authorization: list[str]) -> int | None:
    if len(authorization) == 1:
        number = authorization[0].removeprefix("Bearer ntn_of_person_").partition("_")[0]
        if number.isdigit() and authorization[0] == f"Bearer {notion_token(int(number))}":
            return int(number)
    return None


def _granted(person: int) -> web.Response:
    user = {"object": "user", "id": str(UUID(int=person + 1)), "type": "person", "name": "P"}
    grant = {
        "access_token": notion_token(person),
        "token_type": "bearer",
        "refresh_token": None,
        "bot_id": str(UUID(int=(0xB << 124) | person)),
        "workspace_id": workspace_of(person),
        "workspace_name": "W",
        "workspace_icon": None,
        "owner": {"type": "user", "user": user | {"person": {"email": f"p{person}@example.org"}}},
        "duplicated_template_id": None,
    }
    return web.json_response(grant)


def _answer(method: str, path: str, body: bytes) -> dict[str, Any]:
    """Something that the broker takes for a success of that call."""
    words = path.strip("/").split("/")
    subject = words[2] if len(words) > 2 else str(UUID(int=7))
    if method == "PATCH" and words[-1] == "children":
        children = msgspec.json.decode(body).get("children")
        count = len(children) if isinstance(children, list) else 0
        blocks = [{"object": "block", "id": str(UUID(int=n + 1))} for n in range(count)]
        return {"object": "list", "results": blocks, "has_more": False}
    if words[1:2] == ["databases"]:
        return {"object": "database", "id": subject, "data_sources": [{"id": source_of(subject)}]}
    if words[-1] in ("query", "search", "children"):
        return {"object": "list", "results": [], "has_more": False}
    return {"object": "page", "id": subject if subject != "me" else str(UUID(int=7))}
