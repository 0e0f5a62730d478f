"""The paths of the daemon's files, and their permissions.

Every start sets folders to 0700 and files to 0600: the endpoint file holds the owner token, the
outbox holds clip text. On Windows nothing is changed: the access list of %LOCALAPPDATA% protects
its folders.
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
    """Absolute paths of one home. ``secure`` creates the folders."""

    config_dir: Path
    data_dir: Path
    logs_dir: Path

    @property
    def config_file(self) -> Path:
        """Settings; may be absent."""
        return self.config_dir / "config.toml"

    @property
    def endpoint_file(self) -> Path:
        """The API's address and its token, while the daemon runs.

        Not in XDG_RUNTIME_DIR: a client started by cron, ssh or a sandboxed app has a different
        runtime folder, or none.
        """
        return self.data_dir / "endpoint.json"

    @property
    def token_file(self) -> Path:
        """The owner's token between runs."""
        return self.data_dir / "token"

    @property
    def port_file(self) -> Path:
        """The last port, reused at the next start."""
        return self.data_dir / "port"

    @property
    def lock_file(self) -> Path:
        """Locked while the daemon runs; it exists also afterwards."""
        return self.data_dir / "clipperd.lock"

    @property
    def outbox(self) -> Path:
        """The write queue and history; must not get lost."""
        return self.data_dir / "outbox.db"

    @property
    def backups(self) -> Path:
        """Backups of the outbox."""
        return self.data_dir / "backups"

    @property
    def quarantine(self) -> Path:
        """Damaged outboxes, each with a recovery report."""
        return self.data_dir / "quarantine"

    @property
    def cache(self) -> Path:
        """Page index, outlines, section ends; disposable."""
        return self.data_dir / "cache.db"

    @property
    def secrets_file(self) -> Path:
        """The sealed session of ``secrets = "file"``."""
        return self.data_dir / "secrets.json"

    @property
    def log_file(self) -> Path:
        """The newest log; older ones end in .1 to .4."""
        return self.logs_dir / "clipperd.log"

    @property
    def output_file(self) -> Path:
        """The output of a background daemon before it opened its log."""
        return self.logs_dir / "start.txt"

    def folders(self) -> tuple[Path, ...]:
        """Return every folder, without duplicates."""
        return tuple(dict.fromkeys((self.config_dir, self.data_dir, self.logs_dir)))


def locate(home: Path | None) -> Locations:
    """Return the paths below ``home``, by default in the folders of platformdirs."""
    if home is not None:
        return Locations(config_dir=home, data_dir=home, logs_dir=home / "logs")
    import platformdirs

    dirs = platformdirs.PlatformDirs("clipperd", appauthor=False)
    return Locations(
        config_dir=dirs.user_config_path, data_dir=dirs.user_data_path, logs_dir=dirs.user_log_path
    )


def secure(locations: Locations) -> list[str]:
    """Create the folders, fix the modes of folders and files; return a sentence for each fix.

    Raises ConfigInvalid when a folder cannot be created or belongs to another user.
    """
    repairs: list[str] = []
    for folder in locations.folders():
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
    return [f"Changed the mode of {path} from {stat.S_IMODE(found.st_mode):04o} to {mode:04o}."]
