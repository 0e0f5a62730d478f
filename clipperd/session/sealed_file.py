"""Secrets in one encrypted file, for machines without a keyring whose owner asks for it.

AES-256-GCM under a key that scrypt derives from a passphrase or from the bytes of a key file.
The only file of the daemon that imports cryptography, and only when such a file is used.
"""

from __future__ import annotations

import asyncio
import base64
import os
import secrets
from collections.abc import Callable
from pathlib import Path

import msgspec

from clipperd.session.errors import SecretsUnusable
from clipperd.session.keychain import Mode

# 32 MiB, some 100 ms: one of the settings of
# https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html#scrypt
_COST, _BLOCKS, _LANES = 2**15, 8, 3
_KEY_FILE_BYTES = 32


class _Sealed(msgspec.Struct, forbid_unknown_fields=True):
    """The file: everything but the box is in the clear and bound to the box."""

    version: int
    cost: int
    blocks: int
    lanes: int
    salt: str
    nonce: str
    box: str

    def bound(self) -> bytes:
        """The clear part, as associated data."""
        return f"clipperd-secrets {self.version} {self.cost} {self.blocks} {self.lanes}".encode()


class FileSecrets:
    """Named strings in a file of mode 0600, rewritten whole and atomically at every change."""

    mode: Mode = "file"

    def __init__(
        self,
        path: Path,
        *,
        passphrase: str | None = None,
        key_file: Path | None = None,
        random: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        """Exactly one of ``passphrase`` and ``key_file`` is given; nothing is read yet."""
        self._path = path
        self._passphrase = passphrase
        self._key_file = key_file
        self._random = random
        self._turn = asyncio.Lock()
        self._salt = b""
        self._key: bytes | None = None
        self._values: dict[str, str] = {}
        self.why: str | None = None

    async def open(self) -> None:
        """Read the file. Raises SecretsUnusable: wrong passphrase, damage, or a loose key file."""
        async with self._turn:
            if self._key is None:
                await asyncio.to_thread(self._read)

    async def get(self, name: str) -> str | None:
        """Return the secret or None."""
        await self.open()
        return self._values.get(name)

    async def set(self, name: str, value: str) -> None:
        """Keep ``value`` and rewrite the file."""
        await self.open()
        self._values[name] = value
        await self._rewrite()

    async def delete(self, name: str) -> None:
        """Forget the secret and rewrite the file."""
        await self.open()
        if self._values.pop(name, None) is not None:
            await self._rewrite()

    async def _rewrite(self) -> None:
        async with self._turn:
            try:
                await asyncio.to_thread(self._write)
            except OSError as error:
                # The value stays in memory and the next change tries again.
                self.why = f"The secrets file cannot be written ({error.strerror})."
            else:
                self.why = None

    def _read(self) -> None:
        try:
            raw = self._path.read_bytes()
        except FileNotFoundError:
            self._salt = self._random(16)
            self._key = self._derive(self._salt, _COST, _BLOCKS, _LANES)
            return
        except OSError as error:
            raise SecretsUnusable(
                f"{self._path.name} cannot be read ({error.strerror})."
            ) from error
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        try:
            sealed = msgspec.json.decode(raw, type=_Sealed)
            salt = base64.b64decode(sealed.salt)
            # The costs come from the file, so they are checked before they are paid.
            if (sealed.version, sealed.cost, sealed.blocks, sealed.lanes) != (
                1,
                _COST,
                _BLOCKS,
                _LANES,
            ):
                raise SecretsUnusable(
                    f"{self._path.name} is of a form this clipperd does not know."
                )
            key = self._derive(salt, sealed.cost, sealed.blocks, sealed.lanes)
            clear = AESGCM(key).decrypt(
                base64.b64decode(sealed.nonce), base64.b64decode(sealed.box), sealed.bound()
            )
            self._values = msgspec.json.decode(clear, type=dict[str, str])
        except InvalidTag:
            raise SecretsUnusable(
                f"{self._path.name} does not open with this passphrase or key file.",
                hint="Delete the file to start afresh; you will have to sign in again.",
            ) from None
        except (ValueError, msgspec.MsgspecError) as error:
            raise SecretsUnusable(f"{self._path.name} is damaged.") from error
        self._salt, self._key = salt, key

    def _derive(self, salt: bytes, cost: int, blocks: int, lanes: int) -> bytes:
        from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

        return Scrypt(salt=salt, length=32, n=cost, r=blocks, p=lanes).derive(self._material())

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
            raise SecretsUnusable("Other users can read the key file; chmod 600 it.")
        return material

    def _write(self) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        assert self._key is not None
        nonce = self._random(12)
        sealed = _Sealed(1, _COST, _BLOCKS, _LANES, _text(self._salt), _text(nonce), "")
        clear = msgspec.json.encode(self._values)
        sealed.box = _text(AESGCM(self._key).encrypt(nonce, clear, sealed.bound()))
        beside = self._path.with_name(self._path.name + ".new")
        beside.unlink(missing_ok=True)
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(msgspec.json.encode(sealed))
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self._path)


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")
