"""Run every benchmark beside this file: ``python -m tests.bench [NAME …]``."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path


def main(names: list[str]) -> int:
    """Print what the ``run()`` of each ``bench_*.py`` (or of those named) returns."""
    folder = Path(__file__).parent
    found = sorted(path.stem for path in folder.glob("bench_*.py"))
    wanted = [f"bench_{name.removeprefix('bench_')}" for name in names] or found
    for missing in sorted(set(wanted) - set(found)):
        print(f"there is no {missing} in {folder.name}; there are: {', '.join(found)}")
        return 2
    for name in wanted:
        module = importlib.import_module(f"tests.bench.{name}")
        for line in module.run():
            print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
