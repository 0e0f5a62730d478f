"""Reads the address of a PostgreSQL database, in the forms of libpq.

https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit

SCHEMES = ("postgresql://", "postgres://")
FORM = "postgresql://USER:PASSWORD@HOST/NAME or postgresql:///NAME?host=/SOCKET/FOLDER"


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_HOST = re.compile(r"\A(?:/.+|\[[0-9A-Fa-f:.]+\](?::\d{1,5})?|[^\s:/\[\]]+(?::\d{1,5})?)\Z")
_CHOICES = {
    "sslmode": {"disable", "allow", "prefer", "require", "verify-ca", "verify-full"},
    "target_session_attrs": {
        *("any", "read-write", "read-only"),
        *("primary", "standby", "prefer-standby"),
    },
}
_DRIVER = _names(  # asyncpg reads these itself
    "dbname database user password passfile service sslcert sslkey sslrootcert sslcrl"
    " sslpassword ssl_min_protocol_version ssl_max_protocol_version sslnegotiation"
    " krbsrvname gsslib"
)
_SERVER = _names(  # settings of the session
    "application_name options search_path statement_timeout lock_timeout"
    " idle_in_transaction_session_timeout"
)
# Of libpq, Prisma, SQLAlchemy or a provider. Without them the same rows are read and written.
_IGNORED = _names(
    "channel_binding client_encoding connection_limit fallback_application_name"
    " gssdelegation gssencmode hostaddr keepalives keepalives_count keepalives_idle"
    " keepalives_interval load_balance_hosts max_protocol_version min_protocol_version"
    " pool_timeout socket_timeout sslcompression sslsni supa tcp_user_timeout workaround"
)
_REFUSED = _names("replication require_auth requirepeer sslcertmode sslcrldir schema")
_CACHE = ("statement_cache_size", "prepared_statement_cache_size")


@dataclass(frozen=True, slots=True)
class PostgresUrl:
    """An address in parts. ``dsn`` has the parameters of asyncpg only."""

    dsn: str
    connect_s: float | None
    prepares: bool
    server_settings: Mapping[str, str]
    ignored: tuple[str, ...]


def parse_postgres_url(text: str) -> PostgresUrl:
    """Parse ``text``. Raises ValueError with a sentence that quotes nothing secret."""
    parts, query = _parts(text)
    kept: dict[str, str] = {}
    server: dict[str, str] = {}
    ignored: list[str] = []
    connect_s, prepares = None, True
    for name, value in query:
        if name in {"host", "port"} or name in _CHOICES or name in _DRIVER:
            if name in _CHOICES and value not in _CHOICES[name]:
                raise ValueError(f"{name} must be one of: {', '.join(sorted(_CHOICES[name]))}")
            kept[name] = value
        elif name == "connect_timeout":
            seconds = _whole(name, value)
            connect_s = float(max(2, seconds)) if seconds > 0 else None  # as libpq does
        elif name in _CACHE:
            prepares = _whole(name, value) > 0
        elif name == "pgbouncer":
            prepares = value.lower() != "true"
        elif name in _SERVER:
            server[name] = value
        elif name in _IGNORED:
            ignored.append(name)
        elif name in _REFUSED:
            raise ValueError(f"has the parameter {name}, which the broker cannot honour; remove it")
        elif "@" in parts.query or not name.isidentifier():
            raise ValueError("has an unknown parameter; percent-encode ? in a password as %3F")
        else:
            raise ValueError(f"has the unknown parameter {name}; remove it")
    for name in ("host", "port"):
        if name in kept and not all(_fits(name, each) for each in kept[name].split(",")):
            raise ValueError(f"must be {FORM}")
    dsn = f"{parts.scheme}://{parts.netloc}{parts.path}"
    dsn += f"?{urlencode(kept)}" if kept else ""
    return PostgresUrl(dsn, connect_s, prepares, server, tuple(ignored))


def _parts(text: str) -> tuple[SplitResult, list[tuple[str, str]]]:
    try:
        parts = urlsplit(text)
        given = parse_qsl(parts.query, strict_parsing=True) if parts.query else []
    except ValueError:
        raise ValueError(f"must be {FORM}") from None
    hosts = parts.netloc.rpartition("@")[2]
    named = {name for name, _ in given}
    is_named = hosts or parts.path.strip("/") or named & {"host", "dbname", "database", "service"}
    are_hosts = all(_fits("host", unquote(each)) for each in hosts.split(",")) or not hosts
    if f"{parts.scheme}://" not in SCHEMES or not is_named or not are_hosts or parts.fragment:
        raise ValueError(f"must be {FORM}")
    return parts, given


def _fits(name: str, value: str) -> bool:
    return bool(_HOST.match(value)) if name == "host" else value.isascii() and value.isdigit()


def _whole(name: str, value: str) -> int:
    try:
        return int(value)
    except ValueError:
        raise ValueError(f"{name} must be a whole number") from None
