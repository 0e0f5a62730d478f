"""Runs ``python -m cloud_broker.sandbox``."""

from __future__ import annotations

import argparse
import sys

from cloud_broker.sandbox.command import add_arguments, run


def main() -> int:
    """Parse the options and serve."""
    parser = argparse.ArgumentParser(
        prog="python -m cloud_broker.sandbox",
        description="Imitates Notion's API.",
    )
    add_arguments(parser)
    return run(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
