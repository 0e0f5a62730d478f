"""Work that loads much is done in a process of its own: lines of JSON each way, then it ends.

Its memory ends with it, and so does whatever it hangs or crashes on.
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

Ask = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""One question and its answer, both JSON objects; may block."""

Aside = Callable[[], AbstractContextManager[Ask]]
"""Opens a conversation."""


class Gone(OSError):
    """The other process ended without an answer."""

    def __init__(self) -> None:
        """As a pipe that broke, which it is."""
        super().__init__(errno.EPIPE, "its process ended without an answer")


def here(answered: Ask) -> Aside:
    """Whoever asks does it itself: for a program in one file, which has no module to run."""

    @contextmanager
    def conversation() -> Iterator[Ask]:
        yield answered

    return conversation


def beside(module: str, answered: Ask) -> Aside:
    """``module`` is run for each conversation and answers with its ``answered``."""
    if getattr(sys, "frozen", False):
        return here(answered)
    return running([sys.executable, "-m", module])


def running(command: Sequence[str]) -> Aside:
    """Any program that answers."""

    @contextmanager
    def conversation() -> Iterator[Ask]:
        child = subprocess.Popen(  # noqa: S603 (our own module)
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=os.name == "posix",  # Ctrl-C is for the daemon
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
        atexit.register(child.kill)  # a dialog that nobody answered does not outlast the daemon

        def ask(question: Mapping[str, Any]) -> Mapping[str, Any]:
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write(json.dumps(question) + "\n")
            child.stdin.flush()
            line = child.stdout.readline()
            if not line:
                raise Gone
            answer: dict[str, Any] = json.loads(line)
            return answer

        try:
            yield ask
        finally:
            child.communicate()
            atexit.unregister(child.kill)

    return conversation


def serve(answered: Ask) -> int:
    """Be the other process: answer until the input ends."""
    for line in sys.stdin:
        sys.stdout.write(json.dumps(answered(json.loads(line))) + "\n")
        sys.stdout.flush()
    return 0
