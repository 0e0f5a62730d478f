"""Fixtures of the broker's tests. A test that stores rows runs on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.cloud_broker.broker_stage import BrokerStage, a_broker
from tests.servers.broker_database import keep_in_postgres
from tests.servers.postgres import Postgres, a_postgres
from tests.servers.redis import RedisServer, a_redis

SQLITE_ONLY = (
    "sandbox",
    "test_main",
    "crypto",
    "ratelimit_probe",
    "settings",
    "test_sqlite",
    "test_versions",
    "test_sdk",
    "test_sdk_js",
    "test_deadlines",
    "test_limits",
    "test_transport",
    "test_inbound",
    "test_rate_limit",
    "test_tier",
    "test_pages",
)
POSTGRES_ONLY = ("test_postgres", "test_postgres_lost")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test with a folder, which may store rows there, once with each database."""
    place = metafunc.module.__name__.split(".")
    if "tmp_path" in metafunc.fixturenames and not set(place) & set(SQLITE_ONLY):
        kinds = ["postgres"] if set(place) & set(POSTGRES_ONLY) else ["sqlite", "postgres"]
        metafunc.parametrize("kept_in", kinds, indirect=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with a_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    with a_redis() as server:
        yield server


@pytest.fixture(autouse=True)
def kept_in(request: pytest.FixtureRequest) -> Iterator[str]:
    """Choose the database of the test's folder before anything opens it."""
    kind = str(getattr(request, "param", "sqlite"))
    if kind != "postgres":
        yield kind
        return
    server: Postgres = request.getfixturevalue("postgres")
    url = server.fresh()
    keep_in_postgres(request.getfixturevalue("tmp_path"), url)
    yield kind
    server.drop(url)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[BrokerStage]:
    async with a_broker(tmp_path) as running:
        yield running
