"""Stores secrets in one encrypted file, for machines without a keyring (``secrets = "file"``)."""

from __future__ import annotations

import asyncio
import base64
import os
import secrets
from collections.abc import Callable
from pathlib import Path

import msgspec

from clipperd.keychain import sealing
from clipperd.keychain.child_process import Ask, Connect, in_subprocess
from clipperd.keychain.errors import SecretsUnusable
from clipperd.keychain.secrets import Mode
from clipperd.settings.private_file import write_private

_KEY_FILE_BYTES = 32  # the least: 256 bits
_FORMAT = (1, sealing.COST, sealing.BLOCKS, sealing.LANES)
_SUBPROCESS = in_subprocess("clipperd.keychain.sealing", sealing.handle)


class _Sealed(msgspec.Struct, forbid_unknown_fields=True):
    """The file: only the box is encrypted; it authenticates the other fields."""

    version: int
    cost: int
    blocks: int
    lanes: int
    salt: str
    nonce: str
    box: str

    def format(self) -> tuple[int, int, int, int]:
        """Return the version and the scrypt parameters."""
        return self.version, self.cost, self.blocks, self.lanes


class FileSecrets:
    """Named strings in a file of mode 0600, replaced atomically at every change."""

    mode: Mode = "file"

    def __init__(
        self,
        path: Path,
        *,
        passphrase: str | None = None,
        key_file: Path | None = None,
        random: Callable[[int], bytes] = secrets.token_bytes,
        connect: Connect = _SUBPROCESS,
    ) -> None:
        """Takes exactly one of ``passphrase`` and ``key_file``; reads nothing yet."""
        self._connect = connect
        self._path = path
        self._passphrase = passphrase
        self._key_file = key_file
        self._random = random
        self._lock = asyncio.Lock()
        self._salt = b""
        self._key: bytes | None = None
        self._values: dict[str, str] = {}
        self.why: str | None = None

    async def open(self) -> None:
        """Read the file. Raises SecretsUnusable: wrong passphrase, damage, unsafe key file."""
        async with self._lock:
            if self._key is None:
                await asyncio.to_thread(self._read)

    async def get(self, name: str) -> str | None:
        """Return the secret or None."""
        await self.open()
        return self._values.get(name)

    async def set(self, name: str, value: str) -> None:
        """Store ``value`` and rewrite the file."""
        await self.open()
        self._values[name] = value
        await self._rewrite()

    async def delete(self, name: str) -> None:
        """Delete the secret and rewrite the file."""
        await self.open()
        if self._values.pop(name, None) is not None:
            await self._rewrite()

    async def _rewrite(self) -> None:
        async with self._lock:
            try:
                await asyncio.to_thread(self._write)
            except OSError as error:
                # The value stays in memory; the next change writes it.
                self.why = f"The secrets file cannot be written ({error.strerror})."
            else:
                self.why = None

    def _read(self) -> None:
        try:
            raw = self._path.read_bytes()
        except FileNotFoundError:
            raw = None
        except OSError as error:
            raise SecretsUnusable(
                f"{self._path.name} cannot be read ({error.strerror})."
            ) from error
        try:
            with self._connect() as ask:
                if raw is None:
                    self._salt = self._random(16)
                    self._key = self._derive(ask, self._salt)
                else:
                    self._open(ask, raw)
        except OSError as error:
            raise SecretsUnusable(
                f"{self._path.name} cannot be opened ({error.strerror})."
            ) from error

    def _open(self, ask: Ask, raw: bytes) -> None:
        try:
            sealed = msgspec.json.decode(raw, type=_Sealed)
            # Check the scrypt parameters before use: a forged file could exhaust the memory.
            if sealed.format() != _FORMAT:
                raise SecretsUnusable(
                    f"{self._path.name} has a format that this version of clipperd cannot read."
                )
            salt = base64.b64decode(sealed.salt)
            key = self._derive(ask, salt)
            nonce, box = base64.b64decode(sealed.nonce), base64.b64decode(sealed.box)
            request = {"key": _text(key), "nonce": _text(nonce), "box": _text(box)}
            opened = ask({"do": "open", **request})
            if opened.get("wrong") == "key":
                raise SecretsUnusable(
                    f"{self._path.name} does not open with this passphrase or key file.",
                    hint="Use the right one, or delete the file and sign in again.",
                )
            clear = base64.b64decode(opened["clear"])
            self._values = msgspec.json.decode(clear, type=dict[str, str])
        except (KeyError, ValueError, msgspec.MsgspecError) as error:
            raise SecretsUnusable(f"{self._path.name} is damaged.") from error
        self._salt, self._key = salt, key

    def _derive(self, ask: Ask, salt: bytes) -> bytes:
        request = {"material": _text(self._material()), "salt": _text(salt)}
        return base64.b64decode(ask({"do": "derive", **request})["key"])

    def _material(self) -> bytes:
        if self._passphrase is not None:
            if not self._passphrase:
                raise SecretsUnusable("The passphrase is empty.")
            return self._passphrase.encode()
        assert self._key_file is not None
        try:
            material = self._key_file.read_bytes()
            loose = os.name == "posix" and self._key_file.stat().st_mode & 0o077
        except OSError as error:
            raise SecretsUnusable(f"The key file cannot be read ({error.strerror}).") from error
        if len(material) < _KEY_FILE_BYTES:
            raise SecretsUnusable(f"The key file holds less than {_KEY_FILE_BYTES} bytes.")
        if loose:
            raise SecretsUnusable("Other users can read the key file. Run chmod 600 on it.")
        return material

    def _write(self) -> None:
        assert self._key is not None
        nonce = self._random(12)
        clear = msgspec.json.encode(self._values)
        request = {"key": _text(self._key), "nonce": _text(nonce), "clear": _text(clear)}
        with self._connect() as ask:
            box = ask({"do": "seal", **request})["box"]
        sealed = _Sealed(*_FORMAT, _text(self._salt), _text(nonce), box)
        write_private(self._path, msgspec.json.encode(sealed).decode())


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")
