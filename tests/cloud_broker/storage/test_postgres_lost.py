"""PostgreSQL that ends connections, takes no writes, or sits behind a pooler."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from cloud_broker.clock import SystemClock
from cloud_broker.errors import DatabaseFailed
from cloud_broker.monitoring.logs import JsonLines
from cloud_broker.settings.config import Settings
from cloud_broker.storage.database import Tx
from cloud_broker.storage.migrations import check, migrate
from cloud_broker.storage.postgres import PostgresDatabase, open_postgres
from tests.cloud_broker.broker_stage import a_broker, an_environment
from tests.cloud_broker.proxy.proxy_stage import ProxyStage, a_proxy
from tests.servers.broker_database import database_url, keep_in_postgres
from tests.servers.forwarder import a_forwarder
from tests.servers.postgres import Postgres

PID = "SELECT pg_backend_pid() AS pid, :n + 0 AS n"


@pytest.fixture
def url(tmp_path: Path) -> str:
    return database_url(tmp_path)


@pytest.fixture
async def database(url: str) -> AsyncIterator[PostgresDatabase]:
    opened = await open_postgres(url, connections=5)
    async with opened.transaction() as tx:
        await tx.execute("CREATE TABLE one (n BIGINT)")
    yield opened
    await opened.close()


async def pid(tx: Tx) -> int:
    row = await tx.one(PID, n=1)
    assert row is not None
    return int(row["pid"])


def end_all(postgres: Postgres, url: str) -> None:
    name = url.rsplit("/", 1)[1]
    postgres.sql(
        f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{name}'"
    )


async def write(database: PostgresDatabase) -> int:
    async with database.transaction() as tx:
        assert await tx.execute("INSERT INTO one (n) VALUES (:n)", n=1) == 1
        return await pid(tx)


async def ask(
    database: PostgresDatabase, meanwhile: str | Callable[[], None], seen: list[int] | None = None
) -> None:
    """Ask for the pid, do something meanwhile or run a statement, and ask again."""
    async with database.transaction() as tx:
        first = await pid(tx)
        if seen is not None:
            seen.append(first)
        if isinstance(meanwhile, str):
            await tx.execute(meanwhile)
        else:
            meanwhile()
        await pid(tx)


async def test_connections_that_ended_in_the_pool_are_replaced_without_an_error(
    database: PostgresDatabase, postgres: Postgres, url: str
) -> None:
    async with database.reading() as one, database.reading() as two:
        before = {await pid(one), await pid(two)}
    end_all(postgres, url)
    assert await write(database) not in before
    async with database.reading() as one, database.reading() as two:
        assert not {await pid(one), await pid(two)} & before


async def test_a_read_that_went_well_stays_a_success(
    database: PostgresDatabase, postgres: Postgres, url: str
) -> None:
    async with database.reading() as tx:
        assert await pid(tx)
        end_all(postgres, url)
    await write(database)


async def test_a_connection_that_ends_within_a_block_is_the_only_loss(
    database: PostgresDatabase, postgres: Postgres, url: str
) -> None:
    for _ in range(3):
        with pytest.raises(DatabaseFailed):
            await ask(database, lambda: end_all(postgres, url))
        await write(database)


async def test_a_reset_within_a_block_is_the_only_loss(postgres: Postgres, url: str) -> None:
    with a_forwarder(postgres.port) as forwarder:
        through = url.replace(str(postgres.port), str(forwarder.port))
        database = await open_postgres(through, connections=2)
        for _ in range(5):
            with pytest.raises(DatabaseFailed):
                await ask(database, forwarder.reset)
            async with database.reading() as tx:
                assert await pid(tx)
                forwarder.reset()
        forwarder.lead_to(None)
        with pytest.raises(DatabaseFailed):
            await ask(database, "SELECT 1")
        forwarder.lead_to(postgres.port)
        async with database.reading() as tx:
            assert await pid(tx)
        await database.close()


@pytest.mark.parametrize(
    ("sqlstate", "ends"),
    [
        *((each, True) for each in ("25006", "57P01", "57P02", "57P03", "08006", "08P01")),
        *((each, True) for each in ("53300", "25P03", "26000", "42P05")),
        *((each, False) for each in ("22012", "42601", "57014", "40001")),
    ],
)
async def test_an_error_ends_its_connection_when_another_may_succeed(
    database: PostgresDatabase, sqlstate: str, ends: bool
) -> None:
    seen: list[int] = []
    with pytest.raises(DatabaseFailed) as caught:
        await ask(database, f"DO $$ BEGIN RAISE 'x' USING ERRCODE = '{sqlstate}'; END $$", seen)
    assert caught.value.sqlstate == sqlstate
    assert (await write(database) not in seen) is ends


async def test_a_server_that_takes_no_writes_is_left_as_soon_as_another_takes_them(
    database: PostgresDatabase, postgres: Postgres, url: str
) -> None:
    name = url.rsplit("/", 1)[1]
    postgres.sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    end_all(postgres, url)
    for _ in range(3):
        with pytest.raises(DatabaseFailed) as caught:
            await write(database)
        assert caught.value.sqlstate == "25006"
        async with database.reading() as tx:
            assert await pid(tx)
    postgres.sql(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    await write(database)


async def test_a_pooler_that_hides_the_read_only_server_is_found_out_by_the_write(
    database: PostgresDatabase,
) -> None:
    seen: list[int] = []
    with pytest.raises(DatabaseFailed) as caught:
        await ask(database, "SET TRANSACTION READ ONLY; INSERT INTO one (n) VALUES (1)", seen)
    assert caught.value.sqlstate == "25006"
    assert await write(database) not in seen


async def test_every_connection_has_a_longest_life(url: str) -> None:
    database = await open_postgres(url, connections=1, life_s=0)
    seen = set()
    for _ in range(3):
        async with database.reading() as tx:
            seen.add(await pid(tx))
    assert len(seen) == 3
    await database.close()


async def test_a_pooler_that_loses_prepared_statements_is_met_once(
    database: PostgresDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(DatabaseFailed) as caught:
        await ask(database, "DEALLOCATE ALL")  # as on another connection of the pooler's
    assert caught.value.sqlstate == "26000"
    assert "statement_cache_size=0" in caplog.text
    line = JsonLines().format(caplog.records[-1])
    assert '"sqlstate":"26000"' in line
    await ask(database, "DEALLOCATE ALL")


@pytest.mark.parametrize("parameter", ["statement_cache_size=0", "pgbouncer=true"])
async def test_the_address_switches_prepared_statements_off(url: str, parameter: str) -> None:
    database = await open_postgres(f"{url}?{parameter}", connections=1)
    async with database.reading() as tx:
        await pid(tx)
        assert await tx.all("SELECT name FROM pg_prepared_statements WHERE name <> ''") == []
    await database.close()


async def test_no_two_processes_name_a_prepared_statement_alike(url: str) -> None:
    database = await open_postgres(url, connections=1)
    async with database.reading() as tx:
        await pid(tx)
        rows = await tx.all("SELECT name FROM pg_prepared_statements")
    assert rows
    assert all(re.fullmatch(r"__asyncpg_stmt_[0-9a-f]{32}__", row["name"]) for row in rows)
    await database.close()


@pytest.mark.parametrize(
    "form",
    [
        "postgres://postgres@127.0.0.1:{port}/{name}",
        "postgresql:///{name}?host={folder}&port={port}&user=postgres",
        "postgresql://postgres@127.0.0.1:9,127.0.0.1:{port}/{name}?target_session_attrs=read-write",
        "postgresql://postgres@127.0.0.1:{port}/{name}?sslmode=prefer&connect_timeout=5",
        "postgresql://postgres@127.0.0.1:{port}/{name}?channel_binding=prefer&pgbouncer=true",
    ],
)
async def test_addresses_of_libpq_lead_to_the_database(
    postgres: Postgres, url: str, form: str, caplog: pytest.LogCaptureFixture
) -> None:
    name = url.rsplit("/", 1)[1]
    address = form.format(port=postgres.port, folder=postgres.folder, name=name)
    settings = Settings.from_env(an_environment(BROKER_DATABASE_URL=address))
    database = await open_postgres(settings.database_url.reveal(), connections=1)
    async with database.transaction() as tx:
        assert await pid(tx)
    await database.close()
    assert ("channel_binding" in caplog.text) is ("channel_binding" in form)


async def test_a_missing_right_is_named(postgres: Postgres, url: str) -> None:
    owner = await open_postgres(url, connections=1)
    await migrate(owner, SystemClock())
    await owner.close()
    role = f"stranger_{url.rsplit('_', 1)[1]}"
    postgres.sql(f"CREATE ROLE {role} LOGIN")
    stranger = await open_postgres(url.replace("postgres@", f"{role}@"), connections=1)
    with pytest.raises(DatabaseFailed, match=r"permission denied for table .* \(42501\)") as caught:
        await check(stranger)
    assert "Grant" in str(caught.value.hint)
    await stranger.close()
    postgres.sql(f"DROP ROLE {role}")


async def test_readiness_and_answers_say_what_is_so(
    tmp_path: Path, postgres: Postgres, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    name = url.rsplit("/", 1)[1]
    async with a_broker(tmp_path) as broker:
        tokens = await broker.sign_in()
        assert (await broker.browser.get("/readyz")).status == 200
        assert "broker_database_ready 1" in await (await broker.browser.get("/metrics")).text()
        postgres.sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        end_all(postgres, url)
        with caplog.at_level(logging.WARNING):
            ready = await broker.browser.get("/readyz")
        assert (ready.status, (await ready.json())["checks"]["database"]) == (503, False)
        assert any('"sqlstate":"25006"' in JsonLines().format(each) for each in caplog.records)
        assert "broker_database_ready 0" in await (await broker.browser.get("/metrics")).text()
        body = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
        refused = await broker.browser.post("/api/auth/token", json=body)
        told = await refused.json()
        assert (refused.status, told["code"]) == (503, "database_unavailable")
        assert refused.headers["Retry-After"] == "2"
        assert "25006" not in told["detail"]
        postgres.sql(f"ALTER DATABASE {name} RESET default_transaction_read_only")
        assert (await broker.browser.post("/api/auth/token", json=body)).status == 200
        assert (await broker.browser.get("/readyz")).status == 200


async def _until_settled(proxy: ProxyStage, key: str) -> str:
    """Repeat under the key while the broker says that the write is under way or not sent."""
    while (answer := await proxy.append(key)).status in (409, 529):
        await proxy.clock.sleep(0.5)
    return f"{answer.status} {answer.headers.get('X-Broker-Code', '')}".strip()


async def test_an_intent_whose_commit_is_lost_is_released(
    tmp_path: Path, postgres: Postgres, url: str
) -> None:
    with a_forwarder(postgres.port) as forwarder:
        through = url.replace(f":{postgres.port}/", f":{forwarder.port}/")
        keep_in_postgres(tmp_path, through)
        async with a_proxy(tmp_path) as proxy:
            assert (await proxy.append(proxy.key())).status == 200
            key = proxy.key()
            forwarder.reset()  # so that statements are prepared again, in plain sight
            forwarder.lose_commit_of = b"INSERT INTO idempotency"
            answer = await proxy.append(key)
            sign = answer.headers["X-Broker-Code"]
            assert (answer.status, sign) == (529, "database_unavailable")
            assert forwarder.commits_lost == 1  # the commit did reach the server
            assert len(proxy.upstream.seen) == 1
            assert await _until_settled(proxy, key) == "200"
            assert len(proxy.upstream.seen) == 2
