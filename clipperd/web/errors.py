"""Errors of the local API's door: who may come in, and with what."""

from __future__ import annotations

from clipperd.errors import ClipperdError, InvalidInput, Kind


class Unauthenticated(ClipperdError):
    """No token, or one that is not (or no longer) valid here."""

    code = "unauthenticated"
    kind = Kind.UNAUTHENTICATED
    title = "A valid token is needed"


class TooManyAttempts(ClipperdError):
    """Wrong tokens came faster than a person or a program in order would send them."""

    code = "too_many_attempts"
    kind = Kind.TOO_MANY
    title = "Too many wrong tokens"


class TokenInQuery(InvalidInput):
    """A token in the address ends up in logs and histories, so it is refused there."""

    code = "token_in_query"
    title = "The token belongs in a header"


class HostRefused(ClipperdError):
    """The Host header is not this daemon's own address (DNS rebinding, a proxy)."""

    code = "host_refused"
    kind = Kind.FORBIDDEN
    title = "That address is not served"


class OriginRefused(ClipperdError):
    """A web page or app that is not on the allow-list sent this."""

    code = "origin_refused"
    kind = Kind.FORBIDDEN
    title = "That origin may not talk to clipperd"


class ScopeMissing(ClipperdError):
    """The token is valid but does not hold the scope of this route."""

    code = "scope_missing"
    kind = Kind.FORBIDDEN
    title = "This token may not do that"


class OwnerOnly(ClipperdError):
    """Only the owner's token of endpoint.json may do this, whatever scopes another holds."""

    code = "owner_only"
    kind = Kind.FORBIDDEN
    title = "Only the owner may do that"


class TooManyStreams(ClipperdError):
    """As many event streams are open as the daemon serves at once."""

    code = "too_many_streams"
    kind = Kind.TOO_MANY
    title = "Too many event streams"


class BodyEncoded(ClipperdError):
    """The body is compressed; the local API takes it plain."""

    code = "unsupported_media_type"
    kind = Kind.UNSUPPORTED
    title = "That kind of body is not accepted"


class FormExpected(ClipperdError):
    """A part of a file is sent as a multipart form, by its Content-Type."""

    code = "unsupported_media_type"
    kind = Kind.UNSUPPORTED
    title = "That kind of body is not accepted"


class FormTooLarge(ClipperdError):
    """A form has more bytes than its route takes."""

    code = "body_too_large"
    kind = Kind.TOO_LARGE
    title = "The body is too large"


class TooManyConnections(ClipperdError):
    """As many connections are open as the daemon serves at once (``guard.py`` answers so)."""

    code = "too_many_connections"
    kind = Kind.UNAVAILABLE
    title = "Too many connections"
