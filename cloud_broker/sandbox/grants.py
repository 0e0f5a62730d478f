"""Imitates Notion's OAuth: codes, token pairs, rotation, revocation.

https://developers.notion.com/docs/authorization, /reference/create-a-token. Notion
publishes no lifetime of access tokens; ``token_ttl_s`` sets one. After a refresh the old pair ends
immediately or after ``old_pair_grace_s``, which Notion does not document.
"""

from __future__ import annotations

from collections.abc import Iterable
from uuid import NAMESPACE_URL, uuid5

from cloud_broker.sandbox.errors import NotionError, OAuthError
from cloud_broker.sandbox.model import ALL_CAPABILITIES, Code, Json, Token, User
from cloud_broker.sandbox.render import NEW, Renderer
from cloud_broker.sandbox.world import World

CODE_TTL_S = 600


def mint(
    world: World,
    user_id: str,
    workspace_id: str,
    capabilities: Iterable[str] = ALL_CAPABILITIES,
    client_id: str | None = None,
) -> Token:
    """Create a token pair for one user in one workspace; the bot stays the same.

    ``client_id`` names a registered integration; the default is the sandbox's own.
    """
    workspace = world.workspaces[workspace_id]
    integration = world.own if client_id is None else world.integrations[client_id]
    named = f"bot:{integration.client_id}:{workspace_id}:{user_id}"
    bot_id = str(uuid5(NAMESPACE_URL, named))
    world.users[bot_id] = User(bot_id, "bot", integration.name, workspace_id=workspace.id)
    now = world.clock.now()
    ttl_s = world.config.token_ttl_s
    token = Token(
        access=world.new_secret("ntn_"),
        refresh=world.new_secret("nrt_") if world.config.refresh_tokens else None,
        bot_id=bot_id,
        workspace_id=workspace_id,
        user_id=user_id,
        client_id=integration.client_id,
        issued_at=now,
        capabilities=frozenset(capabilities),
        ends_at=None if ttl_s is None else now + ttl_s,
    )
    _keep(world, token)
    return token


def current(world: World, access: str) -> Token | None:
    """Return the live token with this secret, or None."""
    token = world.tokens.get(access)
    if token is None or (token.ends_at is not None and token.ends_at <= world.clock.now()):
        return None
    return token


def allow(
    world: World, client_id: str, user_id: str, workspace_id: str, redirect_uri: str | None
) -> Code:
    """Record a user's consent as a single-use code."""
    code = Code(
        world.new_secret("code_"),
        client_id,
        user_id,
        workspace_id,
        redirect_uri,
        world.clock.now(),
    )
    world.codes[code.value] = code
    return code


def exchange(world: World, client_id: str, value: str, redirect_uri: str | None) -> Token:
    """Turn a code into a token pair.

    Raises invalid_grant: used, old, another client's, or for another redirect.
    """
    code = world.codes.pop(value, None)
    if code is None or world.clock.now() - code.issued_at > CODE_TTL_S:
        raise refusal(world, "invalid_grant", "Invalid code.")
    if client_id != code.client_id:
        raise refusal(world, "invalid_grant", "Invalid code.")
    if redirect_uri != code.redirect_uri:
        raise refusal(world, "invalid_grant", "Invalid redirect_uri for this code.")
    return mint(world, code.user_id, code.workspace_id, client_id=client_id)


def renew(world: World, client_id: str, refresh: str) -> Token:
    """Turn a refresh token into a new pair, rotating it where configured."""
    old = world.refreshes.get(refresh)
    now = world.clock.now()
    if (
        old is None
        or old.client_id != client_id
        or (old.refresh_ends_at is not None and old.refresh_ends_at <= now)
    ):
        raise refusal(world, "invalid_grant", "Invalid refresh_token.")
    new = mint(world, old.user_id, old.workspace_id, old.capabilities, client_id)
    ends_at = now + world.config.old_pair_grace_s
    old.ends_at = ends_at if old.ends_at is None else min(old.ends_at, ends_at)
    if world.config.refresh_rotation:
        # A second use within the grace period does not extend it.
        old.refresh_ends_at = ends_at if old.refresh_ends_at is None else old.refresh_ends_at
    else:
        if new.refresh is not None:
            del world.refreshes[new.refresh]
        new.refresh = refresh
        world.refreshes[refresh] = new
    return new


def revoke(world: World, value: str) -> None:
    """End the token pair of an access or refresh token; unknown tokens are ignored."""
    token = world.tokens.get(value) or world.refreshes.get(value)
    if token is None:
        return
    world.tokens.pop(token.access, None)
    if token.refresh is not None:
        world.refreshes.pop(token.refresh, None)


def granted(world: World, token: Token) -> Json:
    """Render the answer of the token endpoint."""
    workspace = world.workspaces[token.workspace_id]
    user = Renderer(world, NEW).user(world.users[token.user_id])
    return {
        "access_token": token.access,
        "token_type": "bearer",
        "refresh_token": token.refresh,
        "bot_id": token.bot_id,
        "workspace_id": workspace.id,
        "workspace_name": workspace.name,
        "workspace_icon": workspace.icon,
        "owner": {"type": "user", "user": user},
        "duplicated_template_id": None,
    }


def refusal(world: World, code: str, message: str, status: int = 400) -> NotionError:
    """Return an OAuth error in the configured one of the two observed shapes."""
    if status == 401 or world.config.oauth_error_shape == "rfc6749":
        return OAuthError(status, code, message)
    return NotionError(status, code, message)


def _keep(world: World, token: Token) -> None:
    world.tokens[token.access] = token
    if token.refresh is not None:
        world.refreshes[token.refresh] = token
