"""Runs memory-heavy work (cryptography, keyring) in a short-lived subprocess.

Requests and answers are lines of JSON. The subprocess frees its memory when it ends, and cannot
hang or crash the daemon.
"""

from __future__ import annotations

import atexit
import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from clipperd.process import interpreter

Ask = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""Sends a request and returns the answer, both JSON objects; may block."""

Connect = Callable[[], AbstractContextManager[Ask]]
"""Starts the process, and ends it with the context."""


class ChildExited(OSError):
    """The subprocess ended without an answer; a broken pipe."""

    def __init__(self) -> None:
        super().__init__(errno.EPIPE, "its process ended without an answer")


def in_process(handle: Ask) -> Connect:
    """Answer in the calling process: a one-file program has no module to run."""

    @contextmanager
    def connect() -> Iterator[Ask]:
        yield handle

    return connect


def in_subprocess(module: str, handle: Ask) -> Connect:
    """Run ``module``, which answers with its ``handle``, for each connection."""
    if getattr(sys, "frozen", False):
        return in_process(handle)
    return run_command(interpreter.command(module))


def run_command(command: Sequence[str]) -> Connect:
    """Run any program that answers."""

    @contextmanager
    def connect() -> Iterator[Ask]:
        child = subprocess.Popen(  # noqa: S603 (our own module)
            command,
            env=interpreter.environment(dict(os.environ)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=os.name == "posix",  # Ctrl-C stops the daemon, not this
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
        atexit.register(child.kill)  # an open dialog ends with the daemon

        def ask(request: Mapping[str, Any]) -> Mapping[str, Any]:
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write(json.dumps(request) + "\n")
            child.stdin.flush()
            line = child.stdout.readline()
            if not line:
                raise ChildExited
            answer: dict[str, Any] = json.loads(line)
            return answer

        try:
            yield ask
        finally:
            child.communicate()
            atexit.unregister(child.kill)

    return connect


def serve(handle: Ask) -> int:
    """Answer requests until the input ends; the main function of the subprocess."""
    for line in sys.stdin:
        sys.stdout.write(json.dumps(handle(json.loads(line))) + "\n")
        sys.stdout.flush()
    return 0
