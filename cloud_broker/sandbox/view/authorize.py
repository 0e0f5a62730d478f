"""Serves the consent page of OAuth: one click, or none with ``auto=1``.

https://developers.notion.com/docs/authorization. ``user`` and ``workspace`` (an id, a name, or a
user's email) select the consenting user and the workspace; ``auto=deny`` refuses immediately.
"""

from __future__ import annotations

from html import escape
from urllib.parse import parse_qsl, urlencode, urlsplit

from aiohttp import web

from cloud_broker.sandbox import grants
from cloud_broker.sandbox.model import User, Workspace
from cloud_broker.sandbox.view.style import page
from cloud_broker.sandbox.world import World

_WEB = ("http", "https")


class Refused(Exception):
    """The request is invalid and must not be redirected; shown as a page."""


class Authorize:
    """Serves ``GET /v1/oauth/authorize``."""

    def __init__(self, world: World) -> None:
        """Record consent in ``world``."""
        self._world = world

    async def handle(self, request: web.Request) -> web.Response:
        """Show the page, or apply the decision in the query and redirect to the client."""
        query = dict(request.query)
        try:
            redirect_uri = self._check(query)
            user, workspace = self._choose(query)
        except Refused as refused:
            body = f"<h1>This link does not work</h1><p>{escape(str(refused))}</p>"
            return _html(page("Authorize", body), 400)
        decision = query.get("auto", "")
        if decision in ("1", "true", "allow"):
            client_id = query["client_id"]
            code = grants.allow(self._world, client_id, user.id, workspace.id, redirect_uri)
            return self._back(query, {"code": code.value})
        if decision == "deny":
            return self._back(query, {"error": "access_denied"})
        return _html(page("Authorize", self._form(query, user, workspace)), 200)

    def _check(self, query: dict[str, str]) -> str:
        if query.get("client_id") not in self._world.integrations:
            raise Refused("The client_id is missing or unknown.")
        if query.get("response_type") != "code":
            raise Refused("response_type should be code.")
        if query.get("owner", "user") != "user":
            raise Refused("owner should be user.")
        redirect_uri = query.get("redirect_uri", "")
        try:
            parts = urlsplit(redirect_uri)
        except ValueError:
            raise Refused("The redirect_uri is no web address.") from None
        if parts.scheme not in _WEB or not parts.netloc or parts.fragment:
            raise Refused("The redirect_uri is missing or is no web address.")
        return redirect_uri

    def _choose(self, query: dict[str, str]) -> tuple[User, Workspace]:
        world = self._world
        people = [user for user in world.users.values() if user.kind == "person"]
        asked = query.get("user", "")
        found = [user for user in people if not asked or asked in (user.id, user.name, user.email)]
        if not found:
            raise Refused("There is no such user.")
        wanted = query.get("workspace", "")
        for user in found:
            for workspace in world.workspaces.values():
                fits = not wanted or wanted in (workspace.id, workspace.name)
                if fits and user.id in workspace.members:
                    return user, workspace
        raise Refused("That user has no such workspace.")

    def _back(self, query: dict[str, str], result: dict[str, str]) -> web.Response:
        parts = urlsplit(query["redirect_uri"])
        extra = {**result, **({"state": query["state"]} if "state" in query else {})}
        joined = urlencode([*parse_qsl(parts.query, keep_blank_values=True), *extra.items()])
        target = parts._replace(query=joined).geturl()
        return web.Response(status=302, headers={"Location": target, "Cache-Control": "no-store"})

    def _form(self, query: dict[str, str], user: User, workspace: Workspace) -> str:
        people = self._links(query, "user", [(u.id, u.name) for u in self._people()], user.id)
        spaces = [(w.id, w.name) for w in self._world.workspaces.values() if user.id in w.members]
        places = self._links(query, "workspace", spaces, workspace.id)
        allow = escape(_address({**query, "auto": "1", "user": user.id, "workspace": workspace.id}))
        deny = escape(_address({**query, "auto": "deny"}))
        name = self._world.integrations[query["client_id"]].name
        return f"""<h1>{escape(name)} wants to use
{escape(workspace.icon or "")} {escape(workspace.name)}</h1>
<p>It will be able to read, add and change the pages of this workspace that are shared with it,
as {escape(user.name)} ({escape(user.email)}).</p>
<p class="choices">Person: {people}<br>Workspace: {places}</p>
<p><a class="button" id="allow" href="{allow}">Allow</a>
<a class="button quiet" id="deny" href="{deny}">Deny</a></p>
<p class="note">This is the sandbox: there is no real Notion account behind it.</p>"""

    def _people(self) -> list[User]:
        return [user for user in self._world.users.values() if user.kind == "person"]

    def _links(
        self, query: dict[str, str], key: str, items: list[tuple[str, str]], chosen: str
    ) -> str:
        # Another user may not belong to the chosen workspace.
        rest = {k: v for k, v in query.items() if key == "workspace" or k != "workspace"}
        return " · ".join(
            f"<b>{escape(name)}</b>"
            if each == chosen
            else f'<a href="{escape(_address({**rest, key: each}))}">{escape(name)}</a>'
            for each, name in items
        )


def _address(query: dict[str, str]) -> str:
    return "/v1/oauth/authorize?" + urlencode(query)


def _html(text: str, status: int) -> web.Response:
    headers = {
        "Cache-Control": "no-store",
        "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; "
        "frame-ancestors 'none'",
        "Referrer-Policy": "no-referrer",
    }
    return web.Response(text=text, status=status, content_type="text/html", headers=headers)
