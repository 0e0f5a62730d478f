"""Runs ``cloud-broker ratelimit-probe``: finds the scope of an API's rate limit."""

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
    """Run the experiment and print the report; 0 with a result, 1 without. Raises ProbeFailed."""
    return asyncio.run(_probe(read(args), as_json=args.json))


async def _probe(experiment: Experiment, *, as_json: bool) -> int:
    plan, workspaces = experiment.plan, experiment.workspaces
    chance = random.Random(experiment.seed)  # noqa: S311 (no secret depends on it)
    async with _target(experiment) as (target, transport, clock, integrations):
        runner = Runner(target, transport, clock, chance, _report, _stop_on_interrupt())
        holders = {
            label: with_statements(
                await runner.holder(label),
                integrations.get(label),
                workspaces.get(label),
            )
            for label in plan.tokens
        }
        for line in report.estimate(plan, holders):
            _report(line)
        results = await runner.run(plan)
    if runner.gave_up is not None:
        _report(runner.gave_up)
    verdict = judge(plan, results, holders)
    if as_json:
        encoded = msgspec.json.encode(report.data(plan, holders, results, verdict))
        sys.stdout.write(msgspec.json.format(encoded, indent=2).decode() + "\n")
    else:
        sys.stdout.write(report.text(results, verdict) + "\n")
    return 1 if verdict.answer is Conclusion.INCONCLUSIVE else 0


@asynccontextmanager
async def _target(
    experiment: Experiment,
) -> AsyncIterator[tuple[Target, Transport, Clock, Mapping[str, str]]]:
    """Provide the target, its transport and clock, and the integrations of the tokens."""
    clock = SystemClock()
    call, version = experiment.call, experiment.notion_version
    if experiment.origin is not None:
        async with AiohttpTransport() as transport:
            target = Target(
                experiment.origin, experiment.call, experiment.notion_version, experiment.tokens
            )
            yield target, transport, clock, experiment.integrations
        return
    scope, limit = experiment.sandbox_scope, experiment.plan.expected
    async with rehearse(scope, limit, clock.now(), experiment.seed) as here:
        _report(f"rehearsal with a sandbox, limit per {scope}; use --api-url for a real API")
        target = Target(here.origin, call, version, here.tokens)
        yield target, here.transport, here.clock, here.integrations


def _stop_on_interrupt() -> asyncio.Event:
    """Return an event that the first Ctrl-C sets; a second Ctrl-C ends the process."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def interrupted() -> None:
        stop.set()
        loop.remove_signal_handler(signal.SIGINT)

    with contextlib.suppress(NotImplementedError):  # Windows: no report after Ctrl-C
        loop.add_signal_handler(signal.SIGINT, interrupted)
    return stop


def _report(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
