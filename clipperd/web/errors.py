"""Errors of the local API itself: host, origin, token, scope, body, limits."""

from __future__ import annotations

from clipperd.errors import ClipperdError, InvalidInput, Kind


class Unauthenticated(ClipperdError):
    """The request has no token, or an invalid or revoked one."""

    code = "unauthenticated"
    kind = Kind.UNAUTHENTICATED
    title = "A valid token is required"


class TooManyAttempts(ClipperdError):
    """More than 20 wrong tokens arrived within a minute."""

    code = "too_many_attempts"
    kind = Kind.TOO_MANY
    title = "Too many wrong tokens"


class TokenInQuery(InvalidInput):
    """The query string holds a token, which would end up in logs and histories."""

    code = "token_in_query"
    title = "The token belongs in a header"


class HostRefused(ClipperdError):
    """The Host header is not the daemon's own address (DNS rebinding, a proxy)."""

    code = "host_refused"
    kind = Kind.FORBIDDEN
    title = "This Host header is not allowed"


class OriginRefused(ClipperdError):
    """The sender is a web page or app that is not on the allow-list."""

    code = "origin_refused"
    kind = Kind.FORBIDDEN
    title = "This origin is not allowed"


class ScopeMissing(ClipperdError):
    """The token is valid but lacks the scope of the route."""

    code = "scope_missing"
    kind = Kind.FORBIDDEN
    title = "The token lacks a scope"


class OwnerOnly(ClipperdError):
    """Only the owner's token of endpoint.json may do this; no scope of a client allows it."""

    code = "owner_only"
    kind = Kind.FORBIDDEN
    title = "Only the owner can do this"


class TooManyStreams(ClipperdError):
    """The daemon serves no more event streams at the same time."""

    code = "too_many_streams"
    kind = Kind.TOO_MANY
    title = "Too many event streams"


class BodyEncoded(ClipperdError):
    """The body is compressed; the local API accepts only uncompressed bodies."""

    code = "unsupported_media_type"
    kind = Kind.UNSUPPORTED
    title = "This kind of body is not supported"


class FormExpected(ClipperdError):
    """The part of a file was not sent as a multipart form."""

    code = "unsupported_media_type"
    kind = Kind.UNSUPPORTED
    title = "This kind of body is not supported"


class FormTooLarge(ClipperdError):
    """The form is larger than its route accepts."""

    code = "body_too_large"
    kind = Kind.TOO_LARGE
    title = "The body is too large"


class TooManyConnections(ClipperdError):
    """The daemon serves no more connections at the same time (see ``middleware/guard.py``)."""

    code = "too_many_connections"
    kind = Kind.UNAVAILABLE
    title = "Too many connections"
