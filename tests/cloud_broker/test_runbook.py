"""The runbook against the program: its commands, settings, metrics, and the effect of its SQL."""

from __future__ import annotations

import re
import shlex
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cloud_broker.cli.main import parser_for
from cloud_broker.settings.table import SETTINGS
from tests.cloud_broker.broker_stage import BrokerStage, a_broker
from tests.cloud_broker.push.push_listener import TOKEN, an_event, listening, post, told

DOCS = Path(__file__).parents[2] / "docs"
RUNBOOK = (DOCS / "runbook.md").read_text("utf-8")
# What an operator copies from. (cli.md has the options in brackets.)
COPIED = ("runbook.md", "ratelimit-probe.md", "sandbox.md", "push.md", "broker-settings.md")
SQL = re.findall(r"```sql\n(.*?)```", RUNBOOK, re.DOTALL)


def commands(document: str) -> list[list[str]]:
    """The words of each ``cloud-broker …`` in code, within a line or a block."""
    text = (DOCS / document).read_text("utf-8").replace("\\\n", " ")
    blocks = re.findall(r"```\w*\n(.*?)```", text, re.DOTALL)
    lines = [line.strip().removeprefix("$ ") for block in blocks for line in block.splitlines()]
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    told = [line for line in (*lines, *spans) if line.startswith("cloud-broker ")]
    return [shlex.split(line, comments=True)[1:] for line in told]


def test_there_are_commands_to_check() -> None:
    verbs = {words[0] for words in commands("runbook.md")}
    assert {"keys", "migrate", "audit", "users", "revoke-all", "check-config"} <= verbs


@pytest.mark.parametrize("document", COPIED)
def test_every_command_that_is_told_is_understood(document: str) -> None:
    for words in commands(document):
        try:
            parser_for(words).parse_args(words)
        except SystemExit as end:
            pytest.fail(f"cloud-broker {' '.join(words)}: exit {end.code}")


def test_every_setting_that_is_named_exists() -> None:
    named = set(re.findall(r"BROKER_[A-Z_]*[A-Z]", RUNBOOK))
    assert named - {setting.name for setting in SETTINGS} == set()


async def test_every_metric_is_in_the_table_and_every_name_in_it_is_measured(
    tmp_path: Path,
) -> None:
    async with a_broker(tmp_path) as stage:
        told = await (await stage.browser.get("/metrics")).text()
    measured = set(re.findall(r"^# TYPE (\w+) ", told, re.MULTILINE))
    table = RUNBOOK[RUNBOOK.index("## Metrics") :]
    rows = "".join(line.split("|")[1] for line in table.splitlines() if line.startswith("| `"))
    with_redis = {"broker_redis_up"}  # absent without Redis
    assert set(re.findall(r"`(broker_\w+)", rows)) == measured | with_redis
    named = set(re.findall(r"\b(broker_\w+)", RUNBOOK))
    assert {name.removesuffix("_bucket") for name in named} == measured | with_redis


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[BrokerStage]:
    async with a_broker(tmp_path, BROKER_WEBHOOK_TOKEN=TOKEN) as started:
        yield started


async def carry_out(stage: BrokerStage, table: str) -> None:
    """Run the runbook's statement on this table."""
    (statement,) = [sql for sql in SQL if f"UPDATE {table} " in sql]
    async with stage.database.transaction() as tx:
        assert await tx.execute(statement) >= 1


async def test_after_a_restore_no_daemon_believes_that_it_missed_nothing(
    stage: BrokerStage,
) -> None:
    tokens = await stage.sign_in()
    async with listening(stage, tokens["access_token"]) as stream:
        await stream.next()
        await post(stage, an_event(stage))
        await told(stage)
        await stream.next()
        before = stream.last_id
    await carry_out(stage, "push_state")
    for last_id in (before, "40"):  # also a number that was given after the dump
        async with listening(stage, tokens["access_token"], last_id) as stream:
            assert (await stream.next())[0] == "gap"
            assert (await stream.next())[0] == "ready"
    await post(stage, an_event(stage))
    async with listening(stage, tokens["access_token"]) as stream:
        await stream.next()
        await told(stage)
        assert (await stream.next())[0] == "page"
        assert int(stream.last_id or 0) > 1_000_000_000


async def test_after_a_restore_all_sessions_can_be_ended_with_one_statement(
    stage: BrokerStage,
) -> None:
    tokens = await stage.sign_in()
    await carry_out(stage, "sessions")
    assert (await stage.refresh(tokens["refresh_token"])).status == 400
    again = await stage.sign_in()
    assert (await stage.refresh(again["refresh_token"])).status == 200
