"""Errors of signing in."""

from __future__ import annotations

from clipperd.errors import ClipperdError, Kind


class LoginDenied(ClipperdError):
    """The person, Notion or the service said no; ``params.error`` is the service's word for it."""

    code = "login_denied"
    kind = Kind.CONFLICT
    title = "The sign-in was refused"


class LoginExpired(ClipperdError):
    """The sign-in took longer than its ten minutes, or its one-time link was used up."""

    code = "login_expired"
    kind = Kind.GONE
    title = "That sign-in has expired"


class LoginStateUnknown(ClipperdError):
    """A sign-in answer that this daemon is not waiting for, possibly forged."""

    code = "login_state_unknown"
    kind = Kind.CONFLICT
    title = "That sign-in was not started here"


class LoginOtherAccount(ClipperdError):
    """Somebody else signed in where a workspace was to be added to the current account."""

    code = "login_other_account"
    kind = Kind.CONFLICT
    title = "That is another account"


class UnsentClips(ClipperdError):
    """Disconnecting would strand clips that wait for this workspace; ``params.count`` of them."""

    code = "unsent_clips"
    kind = Kind.CONFLICT
    title = "Clips are still waiting for that workspace"
