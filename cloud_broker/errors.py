"""Defines every error that the broker raises on purpose.

BrokerError
├── InvalidInput              kind invalid          the request is malformed
│   └── UnknownGrantType, WebhookStale
├── UnsupportedMedia          kind unsupported      a body that is not JSON
├── BodyTooSlow               kind too_slow         the body does not arrive in time
├── TooManyRequests           kind too_many         an address or account sends too many requests
├── NotFound                  kind missing          no such object for this account
├── InvalidGrant              kind invalid          a hand-off or refresh token is not valid
├── WebhookUnsigned           kind unauthenticated  a webhook without its sender's signature
├── SessionExpired            kind unauthenticated  the access token is bad, expired or revoked
├── NoConnection              kind conflict         the account has no such Notion workspace
│   └── WorkspaceRequired     kind invalid          several are connected, none was named
├── ReauthRequired            kind conflict         Notion's grant has ended
├── SignInRefused             kind conflict         the sign-in cannot continue; shown as a page
│   ├── SignInDenied, SignInExpired, SignInForeign, WorkspaceTaken
├── NotionUnavailable         kind upstream         Notion failed or answered something unexpected
├── DatabaseFailed            kind unavailable      (exit 5)
│   ├── Duplicate             kind conflict         a unique key is taken
│   ├── DatabaseBusy          kind unavailable      locks are taken; try again
│   ├── SchemaTooNew, SchemaOutdated, SchemaChanged
├── ConfigurationInvalid                            (exit 4)
├── AuditBroken                                     (exit 1) the audit chain does not hold
├── ProbeFailed                                     (exit 1) the rate-limit probe cannot start
├── PortTaken                                       (exit 6)
├── KeysRefused                                     (exit 7) keys do not open the stored rows
├── KeysInUse                                       (exit 7) rows still need a key
└── SealBroken                                      a stored secret was tampered with or swapped

An error has a stable ``code``, a ``kind`` and a sentence for the user, and knows nothing of HTTP:
``web/problems.py`` maps the kind to a status.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, ClassVar


class Kind(Enum):
    """The sort of an error; the web layer maps each to one HTTP status."""

    INVALID = "invalid"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    MISSING = "missing"
    CONFLICT = "conflict"
    TOO_LARGE = "too_large"
    UNSUPPORTED = "unsupported"
    TOO_SLOW = "too_slow"
    TOO_MANY = "too_many"
    UPSTREAM = "upstream"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"


class BrokerError(Exception):
    """Base of all deliberate errors. Users read ``detail``: it holds no token and no content."""

    code: ClassVar[str] = "internal"
    kind: ClassVar[Kind] = Kind.INTERNAL
    title: ClassVar[str] = "Something went wrong"

    def __init__(
        self,
        detail: str,
        *,
        hint: str | None = None,
        retry_after: float | None = None,
        params: Mapping[str, Any] | None = None,
        errors: Sequence[Mapping[str, str]] = (),
    ) -> None:
        """Take the sentence; optionally a hint, seconds to wait, values, and places in a body."""
        super().__init__(detail)
        self.detail = detail
        self.hint = hint
        self.retry_after = retry_after
        self.params = dict(params or {})
        self.errors = [dict(e) for e in errors]


# --- malformed requests -------------------------------------------------------------------


class InvalidInput(BrokerError):
    """The body, query or path is malformed; ``errors`` names the places."""

    code = "invalid_input"
    kind = Kind.INVALID
    title = "That request is not valid"


class UnknownGrantType(InvalidInput):
    """``grant_type`` is neither handoff nor refresh_token."""

    code = "unsupported_grant_type"
    title = "That grant type is not supported"


class UnsupportedMedia(BrokerError):
    """The body is not JSON."""

    code = "unsupported_media_type"
    kind = Kind.UNSUPPORTED
    title = "Send JSON"


class BodyTooSlow(BrokerError):
    """The body did not arrive in time."""

    code = "request_timeout"
    kind = Kind.TOO_SLOW
    title = "The request took too long to arrive"


class TooManyRequests(BrokerError):
    """An address or account sends too many requests; ``retry_after``: seconds to wait."""

    code = "rate_limited"
    kind = Kind.TOO_MANY
    title = "Too many requests"


class NotFound(BrokerError):
    """No such object for this account; objects of other accounts look the same."""

    code = "not_found"
    kind = Kind.MISSING
    title = "Not found"


# --- session --------------------------------------------------------------------------------


class InvalidGrant(BrokerError):
    """A hand-off or refresh token is unknown, used up, expired or bound to another verifier."""

    code = "invalid_grant"
    kind = Kind.INVALID
    title = "That sign-in is no longer valid"


class SessionExpired(BrokerError):
    """The access token is missing, malformed, expired or revoked."""

    code = "session_expired"
    kind = Kind.UNAUTHENTICATED
    title = "Sign in again"


# --- webhooks -------------------------------------------------------------------------------


class WebhookUnsigned(BrokerError):
    """A webhook without a valid signature of its sender."""

    code = "webhook_unsigned"
    kind = Kind.UNAUTHENTICATED
    title = "That webhook is not signed"


class WebhookStale(InvalidInput):
    """A webhook of an old event: a replay, or a delivery too late to be of use."""

    code = "webhook_stale"
    title = "That event is too old"


# --- connections to Notion ------------------------------------------------------------------


class NoConnection(BrokerError):
    """The account has no connected workspace, or none with this id."""

    code = "no_connection"
    kind = Kind.CONFLICT
    title = "That workspace is not connected"


class WorkspaceRequired(NoConnection):
    """Several workspaces are connected; the caller must name one."""

    code = "workspace_required"
    kind = Kind.INVALID
    title = "Which workspace?"


class ReauthRequired(BrokerError):
    """Notion's grant has ended; the user must connect Notion again."""

    code = "reauth_required"
    kind = Kind.CONFLICT
    title = "Connect Notion again"


class SignInRefused(BrokerError):
    """The sign-in cannot continue; the user sees this in the browser."""

    code = "login_refused"
    kind = Kind.CONFLICT
    title = "You could not be signed in"


class SignInDenied(SignInRefused):
    """The user did not approve the connection at Notion."""

    code = "access_denied"
    kind = Kind.FORBIDDEN
    title = "The connection was not approved"


class SignInExpired(SignInRefused):
    """The sign-in is unknown, completed, or older than ten minutes."""

    code = "login_expired"
    kind = Kind.INVALID
    title = "This sign-in has expired"


class SignInForeign(SignInRefused):
    """Another browser completes the sign-in than the one that began it."""

    code = "login_state_unknown"
    kind = Kind.FORBIDDEN
    title = "This sign-in was started somewhere else"


class WorkspaceTaken(SignInRefused):
    """The workspace belongs to another account: one workspace, one account."""

    code = "workspace_taken"
    title = "This workspace already has an account"


class NotionUnavailable(BrokerError):
    """Notion's OAuth endpoint failed or answered something unexpected."""

    code = "notion_unavailable"
    kind = Kind.UPSTREAM
    title = "Notion did not answer as expected"


# --- storage --------------------------------------------------------------------------------


class DatabaseFailed(BrokerError):
    """The database is unreachable, or refused a statement (exit 5).

    ``sqlstate``: PostgreSQL's code. ``ends_connection``: another connection may succeed.
    """

    code = "database_unavailable"
    kind = Kind.UNAVAILABLE
    title = "The database is not available"
    sqlstate: str | None = None
    ends_connection = False


class Duplicate(DatabaseFailed):
    """A row with the same unique key exists."""

    code = "duplicate"
    kind = Kind.CONFLICT
    title = "That exists already"


class DatabaseBusy(DatabaseFailed):
    """Other transactions hold the locks; another try may succeed."""

    code = "database_busy"
    title = "The database is busy"


class SchemaTooNew(DatabaseFailed):
    """A newer broker removed columns or tables that this one needs."""

    code = "schema_too_new"
    title = "This version is too old for the database"


class SchemaOutdated(DatabaseFailed):
    """Migrations are missing."""

    code = "schema_outdated"
    title = "The database needs to be migrated"


class SchemaChanged(DatabaseFailed):
    """The text of an applied migration has changed."""

    code = "schema_changed"
    title = "An applied migration was edited"


# --- start ----------------------------------------------------------------------------------


class ConfigurationInvalid(BrokerError):
    """Settings are missing or malformed; ``faults`` names each (exit 4)."""

    code = "configuration_invalid"
    title = "The configuration is not valid"

    def __init__(self, faults: Sequence[str]) -> None:
        """Take every fault, one sentence each, none with a secret's value."""
        super().__init__("; ".join(faults))
        self.faults = tuple(faults)


class AuditBroken(BrokerError):
    """A row of the audit log was changed or is missing (exit 1)."""

    code = "audit_broken"
    title = "The audit log was tampered with"


class ProbeFailed(BrokerError):
    """``ratelimit-probe`` cannot start: Notion refuses a token or does not answer."""

    code = "probe_failed"
    title = "The experiment cannot start"


class PortTaken(BrokerError):
    """The address cannot be listened on (exit 6)."""

    code = "port_taken"
    kind = Kind.UNAVAILABLE
    title = "The address is in use"


class KeysRefused(BrokerError):
    """The encryption keys do not open the stored rows (exit 7)."""

    code = "keys_refused"
    title = "These encryption keys do not fit this database"


class KeysInUse(BrokerError):
    """Rows are sealed with keys that the operator wants to drop (exit 7)."""

    code = "keys_in_use"
    title = "Encryption keys are still in use"


class SealBroken(BrokerError):
    """Sealed bytes do not open under their key and row: changed, swapped or foreign."""

    code = "seal_broken"
    title = "A stored secret cannot be opened"
