"""Runs ``cloud-broker sandbox``: serves the sandbox Notion until a signal stops it."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import math
import os
import signal
import sys
import tempfile
from pathlib import Path

from aiohttp import web

from cloud_broker.sandbox.app import create_app
from cloud_broker.sandbox.model import Config

EXIT_OK = 0
EXIT_PORT = 6
SHUTDOWN_S = 2.0
SCOPES = ("token", "integration", "workspace")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port; 0: chosen by the system")
    parser.add_argument("--client-id", default="sandbox-client", help="OAuth client (%(default)s)")
    parser.add_argument(
        "--client-secret", default="sandbox-secret", help="secret of the OAuth client (%(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of all ids and random choices")
    parser.add_argument(
        "--rate",
        type=_count,
        default=180,
        metavar="N",
        help="requests per window; 0: no limit (%(default)s)",
    )
    parser.add_argument(
        "--limit-scope",
        choices=SCOPES,
        default=SCOPES[0],
        help="scope of the limit: a token, or all tokens of an integration or workspace",
    )
    parser.add_argument(
        "--window",
        type=_seconds,
        default=60.0,
        metavar="SECONDS",
        help="window length (%(default)s)",
    )
    parser.add_argument(
        "--burst",
        type=_at_least_one,
        metavar="N",
        help="refill evenly and admit at most N requests together, instead of at any pace",
    )
    parser.add_argument(
        "--ready-file",
        type=Path,
        metavar="PATH",
        help="write the address here when ready",
    )
    parser.epilog = (
        "examples:\n"
        "  cloud-broker sandbox --port 8900     open the printed address in a browser\n"
        "  cloud-broker sandbox --seed 7 --rate 0"
    )


def _count(text: str) -> int:
    if (value := int(text)) < 0:
        raise argparse.ArgumentTypeError("a number from 0")
    return value


def _at_least_one(text: str) -> int:
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError("a number from 1")
    return value


def _seconds(text: str) -> float:
    if not 0 < (value := float(text)) < math.inf:
        raise argparse.ArgumentTypeError("a number of seconds above 0")
    return value


def config_of(args: argparse.Namespace) -> Config:
    """Return the configuration that the options set."""
    config = Config(rate_per_token=None, window_s=args.window, burst=args.burst)
    config.update({f"rate_per_{args.limit_scope}": args.rate or None})
    return config


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT. Returns 0, or 6 when the port is not available."""
    return asyncio.run(_serve(args))


async def _serve(args: argparse.Namespace) -> int:
    app = create_app(
        seed=args.seed,
        client_id=args.client_id,
        client_secret=args.client_secret,
        config=config_of(args),
    )
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        # Windows has no signal handlers on its loops; Ctrl-C raises KeyboardInterrupt there.
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(name, stop.set)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_S)
    await runner.setup()
    try:
        site = web.TCPSite(runner, args.host, args.port)
        try:
            await site.start()
        except OSError as error:
            sys.stderr.write(f"The port is not available: {error.strerror or error}\n")
            return EXIT_PORT
        host, port = runner.addresses[0][:2]
        url = f"http://{f'[{host}]' if ':' in host else host}:{port}/"
        if args.ready_file is not None:
            await asyncio.to_thread(_write_ready, args.ready_file, url)
        sys.stdout.write(f"Sandbox Notion at {url}\n")
        sys.stdout.flush()
        await stop.wait()
    finally:
        await runner.cleanup()
    return EXIT_OK


def _write_ready(path: Path, url: str) -> None:
    """Write the address atomically, so that a waiting process never reads a part of it."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(url + "\n")
    Path(name).replace(path)
