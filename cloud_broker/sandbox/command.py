"""``cloud-broker sandbox``: run the sandbox Notion until told to stop."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import tempfile
from pathlib import Path

from aiohttp import web

from cloud_broker.sandbox.app import create_app

EXIT_OK = 0
EXIT_PORT = 6
SHUTDOWN_S = 2.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port; 0 lets the system choose")
    parser.add_argument("--client-id", default="sandbox-client", help="OAuth client (%(default)s)")
    parser.add_argument(
        "--client-secret", default="sandbox-secret", help="its secret (%(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of all ids and chances")
    parser.add_argument(
        "--rate", type=int, default=180, help="requests a minute and token; 0 for no limit"
    )
    parser.add_argument(
        "--ready-file", type=Path, metavar="PATH", help="write the address here once it answers"
    )
    parser.epilog = (
        "examples:\n"
        "  cloud-broker sandbox --port 8900     open the address it prints and watch\n"
        "  cloud-broker sandbox --seed 7 --rate 0"
    )


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT. Returns 0, or 6 when the port cannot be had."""
    return asyncio.run(_serve(args))


async def _serve(args: argparse.Namespace) -> int:
    app = create_app(
        seed=args.seed,
        client_id=args.client_id,
        client_secret=args.client_secret,
        rate_per_minute=args.rate or None,
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
            sys.stderr.write(f"The port cannot be had: {error.strerror or error}\n")
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
    """Write the address in one step, so that who waits for the file never reads half of it."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(url + "\n")
    Path(name).replace(path)
