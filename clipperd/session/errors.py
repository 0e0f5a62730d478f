"""Errors of the session."""

from __future__ import annotations

from clipperd.errors import ClipperdError, Kind

_REASONS: dict[str, tuple[str, str, str, str]] = {
    "access_denied": (
        "login_denied",
        "The sign-in was refused",
        "The connection was not approved at Notion.",
        "Start the sign-in again and approve it.",
    ),
    "server_error": (
        "notion_refused",
        "Notion refused the sign-in",
        "Notion did not accept the sign-in; its page may have been open for too long.",
        "Start the sign-in again.",
    ),
    "temporarily_unavailable": (
        "notion_unavailable",
        "Notion has a problem",
        "Notion answered with an error and could not complete the sign-in.",
        "Nothing has changed. Start the sign-in again in a few minutes.",
    ),
    "service_unavailable": (
        "service_unavailable",
        "The service has a problem",
        "The service could not complete the sign-in.",
        "Nothing has changed. Start the sign-in again in a few minutes.",
    ),
    "workspace_taken": (
        "workspace_taken",
        "This workspace already has an account",
        "Another account has connected this Notion workspace; each workspace belongs to one"
        " account.",
        "Sign in with the account that connected it first, or choose another workspace.",
    ),
    "login_state_unknown": (
        "other_browser",
        "Another browser answered",
        "Notion's answer reached another browser than the one that started the sign-in.",
        "Start the sign-in again in one browser, and allow cookies.",
    ),
}
"""By the broker's ``error``: the code, title, detail and hint for users."""


class LoginDenied(ClipperdError):
    """The user, Notion or the service refused; ``params.error`` is the service's code."""

    code = "login_denied"
    kind = Kind.CONFLICT
    title = "The sign-in was refused"

    def __init__(self, word: str) -> None:
        """``word``: the ``error`` of the broker's answer."""
        self.reason, self.reason_title, detail, hint = _REASONS.get(word, _REASONS["access_denied"])
        if word not in _REASONS:
            detail = "The sign-in was refused or canceled."
        super().__init__(detail, hint=hint, params={"error": word})


class LoginExpired(ClipperdError):
    """The sign-in took more than ten minutes, or its one-time link was used before."""

    code = "login_expired"
    kind = Kind.GONE
    title = "That sign-in has expired"


class LoginStateUnknown(ClipperdError):
    """No pending sign-in matches the answer; it may be forged."""

    code = "login_state_unknown"
    kind = Kind.CONFLICT
    title = "That sign-in was not started here"


class LoginOtherAccount(ClipperdError):
    """Another user signed in to add a workspace to the current account."""

    code = "login_other_account"
    kind = Kind.CONFLICT
    title = "That is another account"


class UnsentClips(ClipperdError):
    """``params.count`` clips still wait for the workspace to disconnect."""

    code = "unsent_clips"
    kind = Kind.CONFLICT
    title = "Clips are still waiting for that workspace"
