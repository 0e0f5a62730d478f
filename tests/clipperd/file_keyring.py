"""A keyring in a file, for the processes of a test: set it as ``PYTHON_KEYRING_BACKEND``."""

from __future__ import annotations

import json
import os
from pathlib import Path

import keyring.backend
import keyring.errors


class FileKeyring(keyring.backend.KeyringBackend):
    """Entries in the file that ``FILE_KEYRING`` names."""

    priority = 9

    def get_password(self, service: str, username: str) -> str | None:
        return self._all().get(f"{service}/{username}")

    def set_password(self, service: str, username: str, password: str) -> None:
        self._keep({**self._all(), f"{service}/{username}": password})

    def delete_password(self, service: str, username: str) -> None:
        entries = self._all()
        if entries.pop(f"{service}/{username}", None) is None:
            raise keyring.errors.PasswordDeleteError("not found")
        self._keep(entries)

    def _all(self) -> dict[str, str]:
        file = Path(os.environ["FILE_KEYRING"])
        if not file.exists() and file.parent.exists():
            return {}
        return dict(json.loads(file.read_text("utf-8")))

    def _keep(self, entries: dict[str, str]) -> None:
        Path(os.environ["FILE_KEYRING"]).write_text(json.dumps(entries), "utf-8")
