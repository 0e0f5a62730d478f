"""``cloud-broker ratelimit-probe``: find out whose the rate limit of an API like Notion's is."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import msgspec

from cloud_broker.clock import Clock, SystemClock
from cloud_broker.ratelimit_probe import report
from cloud_broker.ratelimit_probe.arguments import Experiment, declare, read
from cloud_broker.ratelimit_probe.holders import with_statements
from cloud_broker.ratelimit_probe.rehearsal import rehearse
from cloud_broker.ratelimit_probe.runner import Runner, Target
from cloud_broker.ratelimit_probe.verdict import Conclusion, judge
from cloud_broker.transport import AiohttpTransport, Transport


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    declare(parser)


def run(args: argparse.Namespace) -> int:
    """Carry it out and print the report: 0 with an answer, 1 without. Raises ProbeFailed."""
    return asyncio.run(_probe(read(args), as_json=args.json))


async def _probe(asked: Experiment, *, as_json: bool) -> int:
    plan, chance = asked.plan, random.Random(asked.seed)  # noqa: S311 (it guards nothing)
    async with _target(asked) as (target, transport, clock, integrations):
        runner = Runner(target, transport, clock, chance, _tell, _stop_on_interrupt())
        holders = {
            label: with_statements(
                await runner.holder(label), integrations.get(label), asked.workspaces.get(label)
            )
            for label in plan.tokens
        }
        for line in report.estimate(plan, holders):
            _tell(line)
        results = await runner.run(plan)
    if runner.gave_up is not None:
        _tell(runner.gave_up)
    verdict = judge(plan, results, holders)
    if as_json:
        told = msgspec.json.encode(report.data(plan, holders, results, verdict))
        sys.stdout.write(msgspec.json.format(told, indent=2).decode() + "\n")
    else:
        sys.stdout.write(report.text(results, verdict) + "\n")
    return 1 if verdict.answer is Conclusion.INCONCLUSIVE else 0


@asynccontextmanager
async def _target(
    asked: Experiment,
) -> AsyncIterator[tuple[Target, Transport, Clock, Mapping[str, str]]]:
    """What to ask, by which transport and clock, and whose each token is said to be."""
    clock = SystemClock()
    if asked.origin is not None:
        async with AiohttpTransport() as transport:
            target = Target(asked.origin, asked.call, asked.notion_version, asked.tokens)
            yield target, transport, clock, asked.integrations
        return
    scope, limit = asked.sandbox_scope, asked.plan.expected
    async with rehearse(scope, limit, clock.now(), asked.seed) as here:
        _tell(f"rehearsal at a sandbox of its own, limit per {scope}; --api-url asks a real API")
        target = Target(here.origin, asked.call, asked.notion_version, here.tokens)
        yield target, here.transport, here.clock, here.integrations


def _stop_on_interrupt() -> asyncio.Event:
    """An event that the first Ctrl-C sets; the second one ends the process as ever."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def interrupted() -> None:
        stop.set()
        loop.remove_signal_handler(signal.SIGINT)

    with contextlib.suppress(NotImplementedError):  # on Windows there is no report then
        loop.add_signal_handler(signal.SIGINT, interrupted)
    return stop


def _tell(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
