"""``python -m tests.scale --minutes 5``: a longer soak; exits 1 at any fault.

Unlike the part in the suite it also kills brokers during a refresh, and stops Redis.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
from pathlib import Path

from tests.scale.fleet import a_fleet
from tests.scale.soak import Soak
from tests.servers.postgres import a_postgres
from tests.servers.redis import a_redis


def main() -> int:
    """Run it and print the counts."""
    parser = argparse.ArgumentParser(prog="python -m tests.scale", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="how long (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of what is random (%(default)s)")
    parser.add_argument("--keep-redis", action="store_true", help="kill brokers only")
    options = parser.parse_args()
    # A plain kill must end all programs too, as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = Path(tempfile.mkdtemp(prefix="clipperd-soak-"))
    with a_postgres() as postgres, a_redis() as redis, a_fleet(folder, postgres, redis) as fleet:
        lost = None if options.keep_redis else redis
        soak = Soak(fleet, options.seed, gentle=False, redis=lost)
        report = asyncio.run(soak.run(options.minutes * 60))
    print("\n".join([*report.lines(), f"what the brokers said is in {folder}"]))
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
