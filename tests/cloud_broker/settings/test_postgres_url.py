"""Addresses of PostgreSQL: the forms of libpq, and the parameters of others."""

from __future__ import annotations

import pytest

from cloud_broker.settings.parsers import database
from cloud_broker.settings.postgres_url import parse_postgres_url


@pytest.mark.parametrize(
    "url",
    [
        "postgres://u:p@h/db",
        "postgresql://h",
        "postgresql:///db",
        "postgresql:///db?host=/run/postgresql",
        "postgresql://u@/db?host=/run/postgresql&port=5433",
        "postgresql://u@%2Frun%2Fpostgresql/db",
        "postgresql://u@[::1]:5433/db",
        "postgresql://u@one,two:5433/db?target_session_attrs=read-write",
        "postgresql://u@one:5432,[::1]:5433/db?target_session_attrs=primary",
        "postgresql:///?service=broker",
    ],
)
def test_forms_of_libpq_are_taken_as_they_are(url: str) -> None:
    assert database(url).reveal() == url
    parsed = parse_postgres_url(url)
    assert (parsed.connect_s, parsed.prepares, parsed.ignored) == (None, True, ())


def test_each_parameter_is_honoured_or_ignored_by_name() -> None:
    parsed = parse_postgres_url(
        "postgresql://u@h/db?sslmode=prefer&connect_timeout=5&channel_binding=require"
        "&application_name=mine&keepalives=1&pgbouncer=true&options=-c%20work_mem%3D8MB"
    )
    assert parsed.dsn == "postgresql://u@h/db?sslmode=prefer"
    assert parsed.connect_s == 5
    assert not parsed.prepares
    assert parsed.server_settings == {"application_name": "mine", "options": "-c work_mem=8MB"}
    assert parsed.ignored == ("channel_binding", "keepalives")


@pytest.mark.parametrize(
    ("query", "connect_s", "prepares"),
    [
        ("connect_timeout=1", 2, True),
        ("connect_timeout=0", None, True),
        ("statement_cache_size=0", None, False),
        ("prepared_statement_cache_size=0", None, False),
        ("statement_cache_size=100", None, True),
        ("pgbouncer=false", None, True),
    ],
)
def test_numbers_mean_what_they_mean_elsewhere(
    query: str, connect_s: float | None, prepares: bool
) -> None:
    parsed = parse_postgres_url(f"postgresql://h/db?{query}")
    assert (parsed.connect_s, parsed.prepares) == (connect_s, prepares)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("postgresql://", "postgresql://USER"),
        ("postgresql://h:port/db", "postgresql://USER"),
        ("postgresql://one,,two/db", "postgresql://USER"),
        ("postgresql://h/db#x", "postgresql://USER"),
        ("postgresql:///db?host=one,", "postgresql://USER"),
        ("postgresql:///db?host=h&port=x", "postgresql://USER"),
        ("postgresql://h/db?sslmode=perhaps", "sslmode must be one of: allow, disable"),
        ("postgresql://h/db?target_session_attrs=master", "read-write"),
        ("postgresql://h/db?connect_timeout=soon", "connect_timeout must be a whole number"),
        ("postgresql://h/db?require_auth=scram-sha-256", "require_auth"),
        ("postgresql://h/db?sslmod=require", "the unknown parameter sslmod"),
        ("postgresql://u?canary=1@h/db", "%3F"),
        ("postgresql://u:secret?canary=1@h/db", "postgresql://USER"),
    ],
)
def test_what_cannot_be_honoured_is_refused_without_quoting_a_secret(url: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as caught:
        database(url)
    assert "canary" not in str(caught.value)
