"""Where everything lives: one table, and the permissions it must have.

Folders are 0700 and files 0600 at every start, repaired when they are not: the endpoint file
holds the owner's token and the outbox holds clip text. On Windows the folders under
%LOCALAPPDATA% are the user's own by their access list, so nothing is changed there.
"""

from __future__ import annotations

import os
import stat
import sys
from dataclasses import dataclass
from pathlib import Path

from clipperd.settings.errors import ConfigInvalid


@dataclass(frozen=True, slots=True)
class Locations:
    """Absolute paths of one home. Nothing exists until ``secure`` has run."""

    config_dir: Path
    data_dir: Path
    logs_dir: Path

    @property
    def config_file(self) -> Path:
        """Settings; may be absent."""
        return self.config_dir / "config.toml"

    @property
    def endpoint_file(self) -> Path:
        """Where the API is and its token, while the daemon runs.

        Beside the data and not in XDG_RUNTIME_DIR: a client started by cron, ssh or a sandboxed
        app sees another runtime folder, or none, and would not find the daemon.
        """
        return self.data_dir / "endpoint.json"

    @property
    def token_file(self) -> Path:
        """The owner's token between runs."""
        return self.data_dir / "token"

    @property
    def port_file(self) -> Path:
        """The port last used, asked for again at the next start."""
        return self.data_dir / "port"

    @property
    def lock_file(self) -> Path:
        """Held by the running daemon; its presence alone means nothing."""
        return self.data_dir / "clipperd.lock"

    @property
    def outbox(self) -> Path:
        """The write queue and history: precious."""
        return self.data_dir / "outbox.db"

    @property
    def backups(self) -> Path:
        """Whole copies of the outbox."""
        return self.data_dir / "backups"

    @property
    def quarantine(self) -> Path:
        """Damaged outboxes, each with a report of what was saved from it."""
        return self.data_dir / "quarantine"

    @property
    def cache(self) -> Path:
        """Page index, outlines, anchors: disposable."""
        return self.data_dir / "cache.db"

    @property
    def secrets_file(self) -> Path:
        """The sealed session of ``secrets = "file"``."""
        return self.data_dir / "secrets.json"

    @property
    def log_file(self) -> Path:
        """The newest log; older ones carry .1 to .4."""
        return self.logs_dir / "clipperd.log"

    @property
    def output_file(self) -> Path:
        """What a daemon in the background printed before its log was open."""
        return self.logs_dir / "start.txt"

    def folders(self) -> tuple[Path, ...]:
        """Every folder of ours, each once."""
        return tuple(dict.fromkeys((self.config_dir, self.data_dir, self.logs_dir)))


def locate(home: Path | None) -> Locations:
    """Return the table: all under ``home``, or where platformdirs says without one."""
    if home is not None:
        return Locations(config_dir=home, data_dir=home, logs_dir=home / "logs")
    import platformdirs

    dirs = platformdirs.PlatformDirs("clipperd", appauthor=False)
    return Locations(
        config_dir=dirs.user_config_path, data_dir=dirs.user_data_path, logs_dir=dirs.user_log_path
    )


def secure(places: Locations) -> list[str]:
    """Create the folders, repair modes of folders and files; return one sentence per repair.

    Raises ConfigInvalid when a folder cannot be made or belongs to somebody else.
    """
    repairs: list[str] = []
    for folder in places.folders():
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            repairs += _repair(folder, 0o700)
            for item in sorted(folder.iterdir()):
                if item.is_file() and not item.is_symlink():
                    repairs += _repair(item, 0o600)
        except OSError as error:
            raise ConfigInvalid(
                f"The folder {folder} cannot be used: {error.strerror or 'not permitted'}.",
                hint="Choose another one with --home or CLIPPERD_HOME.",
            ) from error
    return repairs


def _repair(path: Path, mode: int) -> list[str]:
    if sys.platform == "win32":
        return []
    found = path.stat()
    if found.st_uid != os.getuid():
        raise ConfigInvalid(
            f"{path} belongs to another user.",
            hint="Choose another folder with --home or CLIPPERD_HOME.",
        )
    if stat.S_IMODE(found.st_mode) == mode:
        return []
    path.chmod(mode)
    return [f"{path} had mode {stat.S_IMODE(found.st_mode):04o}; it has {mode:04o} now."]
