"""Exit codes, the same in every verb; the contract names them."""

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
INTERRUPTED = 130  # 128 + SIGINT, what shells expect

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


def of(error: ClipperdError) -> int:
    """Return the exit code for ``error``; 1 where the contract names no other.

    A daemon that ended at its start hands on its own code.
    """
    if isinstance(error, DaemonStartFailed):
        return max(FAILED, int(error.params.get("exit", FAILED)))
    return _BY_CODE.get(error.code, FAILED)


class UsageError(Exception):
    """The command line cannot be understood or carried out as given (exit 2)."""

    def __init__(self, sentence: str, hint: str | None = None) -> None:
        """Say what is wrong and, where it helps, what to type instead."""
        super().__init__(sentence)
        self.hint = hint
