"""Exit codes, the same for every verb (docs/cli.md)."""

from __future__ import annotations

from clipperd.errors import ClipperdError
from clipperd.process.errors import DaemonStartFailed

OK = 0
FAILED = 1
USAGE = 2
ALREADY_RUNNING = 3
CONFIGURATION = 4
DATABASE = 5
PORT = 6
SECRETS = 7
INTERRUPTED = 130  # 128 + SIGINT, by convention of the shells

_BY_CODE = {
    "already_running": ALREADY_RUNNING,
    "config_invalid": CONFIGURATION,
    "schema_too_new": DATABASE,
    "database_unusable": DATABASE,
    "database_damaged": DATABASE,
    "storage_full": DATABASE,
    "port_taken": PORT,
    "keychain_locked": SECRETS,
    "secrets_unusable": SECRETS,
}


def code_for(error: ClipperdError) -> int:
    """Return the exit code for ``error``, by default 1.

    A daemon that failed at its start passes its own code on.
    """
    if isinstance(error, DaemonStartFailed):
        return max(FAILED, int(error.params.get("exit", FAILED)))
    return _BY_CODE.get(error.code, FAILED)


class UsageError(Exception):
    """The command line is invalid or cannot be carried out (exit 2)."""

    def __init__(self, sentence: str, hint: str | None = None) -> None:
        """``sentence``: the error. ``hint``: the next step."""
        super().__init__(sentence)
        self.hint = hint
