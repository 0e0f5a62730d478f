"""Errors of the session."""

from __future__ import annotations

from clipperd.errors import ClipperdError, Kind


class LoginDenied(ClipperdError):
    """The user, Notion or the service refused; ``params.error`` is the service's code."""

    code = "login_denied"
    kind = Kind.CONFLICT
    title = "The sign-in was refused"


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
