"""Defines the errors that clipperd raises on purpose.

ClipperdError
├── InvalidInput            kind invalid      the request cannot be accepted
│   ├── ContentInvalid      kind invalid      the content cannot become Notion blocks
│   └── FormatUnsupported   kind invalid      this version cannot convert the format
├── NotSignedIn, ...        kind conflict     the account's state forbids the request
├── session/errors.py       sign-in
├── keychain/errors.py      secrets
├── process/errors.py       lock, endpoint
├── settings/errors.py      settings
├── web/middleware/errors.py  access to the local API
└── ...

An error has a stable ``code``, a ``kind`` and a sentence for the user, and no HTTP status:
``web/middleware/problems.py`` maps the kind to one. ``delivery/outcome.py`` decides on retries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, ClassVar


class Kind(Enum):
    """The category of an error; the web layer maps each to one HTTP status."""

    INVALID = "invalid"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    MISSING = "missing"
    CONFLICT = "conflict"
    GONE = "gone"
    PRECONDITION = "precondition"
    TOO_LARGE = "too_large"
    UNSUPPORTED = "unsupported"
    TOO_MANY = "too_many"
    UPSTREAM = "upstream"
    UNAVAILABLE = "unavailable"
    STORAGE_FULL = "storage_full"


class ClipperdError(Exception):
    """Base of all deliberate errors. Users see ``detail``: it holds no token and no clip text."""

    code: ClassVar[str] = "internal"
    kind: ClassVar[Kind] = Kind.UNAVAILABLE
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
        """``retry_after`` is in seconds; ``errors``: the faulty values of the request."""
        super().__init__(detail)
        self.detail = detail
        self.hint = hint
        self.retry_after = retry_after
        self.params = dict(params or {})
        self.errors = [dict(e) for e in errors]


# --- the request ----------------------------------------------------------------------------


class InvalidInput(ClipperdError):
    """The body, query or path is not of the documented form; ``errors`` names the places."""

    code = "invalid_input"
    kind = Kind.INVALID
    title = "That request is not valid"


def invalid(detail: str, place: str | Mapping[str, str], code: str = "invalid") -> InvalidInput:
    """Return the error of one value of a request.

    ``place``: the JSON pointer of the value in the body, or ``{"parameter": name}`` for one in the
    address, or ``{"header": name}``.
    """
    named = {"pointer": place} if isinstance(place, str) else place
    return InvalidInput(detail, errors=[{**named, "code": code}])


class CursorInvalid(InvalidInput):
    """A pagination cursor that the daemon did not issue for this list."""

    code = "cursor_invalid"
    title = "That cursor is not valid"


class NotFound(ClipperdError):
    """The account has no such clip, page, delivery or client."""

    code = "not_found"
    kind = Kind.MISSING
    title = "Not found"


# --- account and workspace ------------------------------------------------------------------


class NotSignedIn(ClipperdError):
    """No user has signed in on this machine yet, so a clip would have no owner."""

    code = "not_signed_in"
    kind = Kind.CONFLICT
    title = "Sign in first"


class WorkspaceMismatch(ClipperdError):
    """The named workspace does not belong to the account."""

    code = "workspace_mismatch"
    kind = Kind.CONFLICT
    title = "That belongs to another workspace"


class ReauthRequired(ClipperdError):
    """The session or Notion's grant has ended; the user must sign in again."""

    code = "reauth_required"
    kind = Kind.CONFLICT
    title = "Sign in again"


# --- the broker -----------------------------------------------------------------------------


class BrokerUnreachable(ClipperdError):
    """The broker did not answer. ``sent``: it may have received the request."""

    code = "broker_unreachable"
    kind = Kind.UNAVAILABLE
    title = "The service cannot be reached"

    def __init__(self, detail: str, *, sent: bool) -> None:
        """``sent`` False: the request never left this machine. True: the outcome is unknown."""
        super().__init__(detail)
        self.sent = sent


class BrokerNotConfigured(BrokerUnreachable):
    """The setting ``broker_url`` is empty: no request can leave."""

    code = "broker_not_configured"
    kind = Kind.CONFLICT
    title = "No broker is configured"
    remedy: ClassVar[str] = (
        "Set its address with: clipperd config set broker_url ADDRESS (or CLIPPERD_BROKER_URL),"
        " then run: clipperd restart"
    )

    def __init__(self) -> None:
        super().__init__("clipperd does not know the address of a broker.", sent=False)
        self.hint = self.remedy


# --- storage --------------------------------------------------------------------------------


class StorageFull(ClipperdError):
    """The disk is full or read-only; nothing was stored. Reading still works."""

    code = "storage_full"
    kind = Kind.STORAGE_FULL
    title = "Nothing can be stored now"


class SchemaTooNew(ClipperdError):
    """The database was written by a newer clipperd; this one refuses to touch it (exit 5)."""

    code = "schema_too_new"
    kind = Kind.UNAVAILABLE
    title = "A newer clipperd wrote this database"


# --- clips ----------------------------------------------------------------------------------


class IdempotencyConflict(ClipperdError):
    """The same Idempotency-Key was used before with other content."""

    code = "idempotency_key_reused"
    kind = Kind.CONFLICT
    title = "That key belongs to another clip"


class PageRefUnknown(InvalidInput):
    """A ``page_ref`` that no queued or delivered new page carries."""

    code = "page_ref_unknown"
    title = "No such new page"


class PageRefTaken(ClipperdError):
    """A second new page with a ``ref`` that is in use."""

    code = "page_ref_taken"
    kind = Kind.CONFLICT
    title = "That name for a new page is taken"


class NotAllowedNow(ClipperdError):
    """The clip is in a state that forbids this action (already sending, not finished, ...)."""

    code = "not_allowed_now"
    kind = Kind.CONFLICT
    title = "That is not possible in this state"


class NotFinished(ClipperdError):
    """Only finished clips can be deleted."""

    code = "not_finished"
    kind = Kind.CONFLICT
    title = "That clip is not finished"


class VersionMismatch(ClipperdError):
    """``If-Match`` names another version than the clip has."""

    code = "version_mismatch"
    kind = Kind.PRECONDITION
    title = "The clip has changed"


class ContentErased(ClipperdError):
    """The retention time of the content is over; only the receipt is left."""

    code = "content_erased"
    kind = Kind.GONE
    title = "The content has been erased"


# --- pages and outlines ---------------------------------------------------------------------


class OutlineNotCached(ClipperdError):
    """The outline is not stored yet; the daemon fetches it in the background."""

    code = "outline_not_cached"
    kind = Kind.MISSING
    title = "That outline is not here yet"


class PageGone(ClipperdError):
    """Notion no longer shows the page: it was deleted for good or is not shared any more."""

    code = "page_gone"
    kind = Kind.MISSING
    title = "That page is gone or no longer shared"


class PageTrashed(ClipperdError):
    """The page is in Notion's trash; restoring it there resolves the error."""

    code = "page_trashed"
    kind = Kind.GONE
    title = "That page is in the trash"


class PlaceGone(ClipperdError):
    """The position of a clip is not on the page, so the user decides; ``reason`` is stable.

    Reasons: heading_gone, heading_ambiguous, block_gone, page_gone, page_trashed.
    """

    code = "place_gone"
    kind = Kind.CONFLICT
    title = "The place for this clip is gone"

    def __init__(self, reason: str, *, reads: int = 0) -> None:
        """``reads``: the Notion calls made to find out."""
        super().__init__(_PLACE_GONE[reason], params={"reason": reason})
        self.reason = reason
        self.reads = reads


_PLACE_GONE = {
    "heading_gone": "That heading is gone from the page. Choose another position.",
    "heading_ambiguous": "Several headings of the page match. Name one by its id.",
    "block_gone": "That block is gone from the page. Choose another position.",
    "page_gone": "The page is gone or no longer shared. Share it, or choose another page.",
    "page_trashed": "The page is in Notion's trash. Restore it there, or choose another page.",
}


class ReadFailed(ClipperdError):
    """Notion or the broker answered a read with an error.

    ``reply`` is a ``broker.reply.Reply``; this module may not import that layer.
    """

    code = "read_failed"
    kind = Kind.UPSTREAM
    title = "Notion could not answer"

    def __init__(self, reply: Any, *, reads: int = 0) -> None:
        """``reads``: the Notion calls made, this one included."""
        super().__init__(
            "Notion could not answer. Try again later.",
            retry_after=reply.retry_after_s,
            params={"status": reply.status, "code": reply.broker_code or reply.code},
        )
        self.reply = reply
        self.reads = reads


NOTION_ERRORS = (BrokerUnreachable, NotSignedIn, ReadFailed, ReauthRequired)
"""The errors with which a call to Notion fails."""


# --- content of a clip ----------------------------------------------------------------------


class ContentInvalid(InvalidInput):
    """The clip's content cannot become Notion blocks; ``errors`` names the places in the body."""

    code = "content_invalid"
    title = "That content is not valid"


class FormatUnsupported(InvalidInput):
    """This version cannot convert the format yet."""

    code = "format_unsupported"
    title = "That format is not supported"


# --- settings and named clients ---------------------------------------------------------------


class SettingFixed(ClipperdError):
    """The setting cannot be changed over the API: the broker's address and secrets."""

    code = "setting_fixed"
    kind = Kind.FORBIDDEN
    title = "That setting cannot be changed here"


class ClientNameTaken(ClipperdError):
    """Another local client already has that name."""

    code = "client_name_taken"
    kind = Kind.CONFLICT
    title = "That name is in use"
