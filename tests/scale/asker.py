"""``python -m tests.scale.asker REDIS_URL SECONDS CASES``: a process that asks as fast as it can.

Waits for a line on standard input, then asks for SECONDS whether it may start, in each of the
CASES in turn. A case is a JSON list of rules that are decided together: ``["w", limit, span_s]``
or ``["b", rate, burst]``. Prints each permission as a pair of readings of the machine's steady
clock: before the question and after the answer.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from random import Random

from cloud_broker.cluster.redis import Redis
from cloud_broker.cluster.redis_limiter import RedisLimiter
from cloud_broker.cluster.shared_limiter import SharedLimiter
from cloud_broker.cluster.usage_snapshot import UsageSnapshot
from cloud_broker.limits.gcra import Bucket, Rule, Window
from cloud_broker.limits.limiter import LimitCheck
from cloud_broker.randomness import SystemRandomness
from cloud_broker.secret import Secret

Case = list[list[float | str]]


async def ask(url: str, seconds: float, cases: list[Case]) -> dict[str, object]:
    redis, seen = Redis(Secret(url), budget_s=10.0), UsageSnapshot()
    inner = RedisLimiter(redis, SystemRandomness(), seen)
    limiter = SharedLimiter(inner, seen, brokers=lambda: 4, rng=Random(), on_lost=lambda: None)
    asks = [
        [LimitCheck(str(n), f"v1:{{u:{case}}}:{n}", _rule(rule)) for n, rule in enumerate(rules)]
        for case, rules in enumerate(cases)
    ]
    starts: list[list[tuple[float, float]]] = [[] for _ in cases]
    refused = [0] * len(cases)
    begun = before = time.monotonic()
    while before < begun + seconds:
        for case, together in enumerate(asks):
            before = time.monotonic()
            if (await limiter.decide(together, (), before, 0.0)).allowed:
                starts[case].append((before, time.monotonic()))
            else:
                refused[case] += 1
    await redis.close()
    return {"asked": (begun, before), "starts": starts, "refused": refused, "lost": limiter.lost}


def _rule(rule: list[float | str]) -> Rule:
    kind, one, other = rule[0], float(rule[1]), float(rule[2])
    return Window(int(one), other) if kind == "w" else Bucket(one, int(other))


if __name__ == "__main__":
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    told = asyncio.run(ask(sys.argv[1], float(sys.argv[2]), json.loads(sys.argv[3])))
    sys.stdout.write(json.dumps(told))
