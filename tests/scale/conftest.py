"""One PostgreSQL, one Redis and one fleet, shared by the tests that leave it unchanged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scale.fleet import Fleet, a_fleet
from tests.servers.postgres import Postgres, a_postgres
from tests.servers.redis import RedisServer, a_redis


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with a_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    with a_redis() as server:
        yield server


@pytest.fixture(scope="session")
def fleet(
    tmp_path_factory: pytest.TempPathFactory, postgres: Postgres, redis_server: RedisServer
) -> Iterator[Fleet]:
    folder: Path = tmp_path_factory.mktemp("fleet")
    with a_fleet(folder, postgres, redis_server) as running:
        yield running
