"""Stores secrets in the OS keyring, with a fallback to memory.

A keyring call may show a dialog and block for minutes, so it runs in its own thread with a
timeout.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import secrets
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

from clipperd.keychain import keyring_child
from clipperd.keychain.child_process import Connect, in_subprocess
from clipperd.keychain.errors import KeychainLocked, SecretsUnusable
from clipperd.keychain.keyring import Keyring, KeyringRefused, NoKeyring
from clipperd.keychain.secrets import Mode, Secrets

T = TypeVar("T")

_SUBPROCESS = in_subprocess("clipperd.keychain.keyring_child", keyring_child.handle)

TIMEOUT_S = 5.0
"""A healthy Secret Service answers in 40 ms, its subprocess starts in 200; a dialog may never."""


class MemorySecrets:
    """Keeps secrets until the process ends."""

    mode: Mode = "memory"

    def __init__(self, why: str | None = None) -> None:
        """``why``: a sentence for the user."""
        self.why = why
        self._values: dict[str, str] = {}

    async def open(self) -> None:
        """Do nothing."""

    async def get(self, name: str) -> str | None:
        """Return the secret or None."""
        return self._values.get(name)

    async def set(self, name: str, value: str) -> None:
        """Store ``value``."""
        self._values[name] = value

    async def delete(self, name: str) -> None:
        """Delete the secret."""
        self._values.pop(name, None)


class KeyringSecrets:
    """The OS keyring, with a fallback to memory while it is missing or locked.

    Changes wait in ``_unsaved`` until the keyring stores them, so a keyring that opens late gets
    the newest value. A *locked* keyring is not an empty one: :meth:`get` raises KeychainLocked
    instead of returning None.
    """

    def __init__(
        self,
        connect: Connect = _SUBPROCESS,
        *,
        service: str,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """``service``: the keyring's name for our entries, one per home folder."""
        self._connect = connect
        self._service = service
        self._timeout_s = timeout_s
        self._thread = _KeyringThread()
        self._open_lock = asyncio.Lock()
        self._unsaved: dict[str, str | None] = {}
        self._lock = threading.Lock()
        self._absent = False
        self._mode: Mode = "opening"
        self._why: str | None = None

    @property
    def mode(self) -> Mode:
        """``secure`` once the keyring has stored a probe; ``memory`` while it is unavailable."""
        return self._mode

    @property
    def why(self) -> str | None:
        """The problem with the keyring, as a sentence."""
        return self._why

    async def open(self) -> None:
        """Write, read and delete a probe, once."""
        async with self._open_lock:
            if self._mode == "opening":
                with contextlib.suppress(KeychainLocked):  # mode and why report it
                    await self._ask(self._probe)

    async def get(self, name: str) -> str | None:
        """Return the unsaved value, else the keyring's."""
        await self.open()
        with self._lock:
            if name in self._unsaved:
                return self._unsaved[name]
        if self._absent:
            return None
        return await self._ask(lambda keyring: keyring.get(name))

    async def set(self, name: str, value: str) -> None:
        """Keep ``value`` here, then in the keyring."""
        await self._save(name, value)

    async def delete(self, name: str) -> None:
        """Delete it here, then in the keyring."""
        await self._save(name, None)

    async def _save(self, name: str, value: str | None) -> None:
        await self.open()
        with self._lock:
            self._unsaved[name] = value
        if not self._absent:
            with contextlib.suppress(KeychainLocked):  # it stays unsaved; mode and why report it
                await self._ask(self._store_unsaved)

    async def _ask(self, work: Callable[[Keyring], T]) -> T:
        """Run ``work`` in the keyring's thread. Raises KeychainLocked on an error or timeout."""

        def job() -> T:
            with self._connect() as ask:
                return work(Keyring(ask, self._service))

        try:
            result = await self._thread.run(job, self._timeout_s)
        except NoKeyring:
            self._absent = True
            self._fall_back("This machine has no keyring; the session ends when clipperd stops.")
            raise KeychainLocked("This machine has no keyring.") from None
        except TimeoutError:
            self._fall_back("The keyring does not answer; it may be waiting for its password.")
            raise KeychainLocked("The keyring does not answer.") from None
        except Exception as error:  # backends are plug-ins that raise any error
            name = str(error) if isinstance(error, KeyringRefused) else type(error).__name__
            self._fall_back(f"The keyring refuses ({name}); it may be locked.")
            raise KeychainLocked("The keyring refuses to answer.") from error
        self._mode, self._why = "secure", None
        return result

    def _fall_back(self, why: str) -> None:
        self._mode, self._why = "memory", why

    def _probe(self, keyring: Keyring) -> None:
        name, value = "probe-" + secrets.token_hex(4), secrets.token_hex(8)
        keyring.set(name, value)
        found = keyring.get(name)
        keyring.delete(name)
        if found != value:
            raise NoKeyring

    def _store_unsaved(self, keyring: Keyring) -> None:
        """Write every unsaved change, also one that arrives during the writes."""
        while True:
            with self._lock:
                if not self._unsaved:
                    return
                name, value = next(iter(self._unsaved.items()))
            if value is not None:
                keyring.set(name, value)
            elif keyring.get(name) is not None:
                keyring.delete(name)
            with self._lock:
                if self._unsaved.get(name, value) == value:
                    self._unsaved.pop(name, None)


class _KeyringThread:
    """One daemon thread, started at first use: an open dialog must not delay the exit."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._stuck_calls = 0
        self._lock = threading.Lock()

    async def run(self, work: Callable[[], T], timeout_s: float) -> T:
        """Return the result of ``work``. Raises TimeoutError after ``timeout_s`` seconds, or
        immediately while an earlier call is stuck: one dialog on the screen is enough."""
        if self._stuck_calls:
            raise TimeoutError
        future: Future[T] = Future()
        late = threading.Event()

        def job() -> None:
            try:
                future.set_result(work())
            except BaseException as error:  # handed to the caller that awaits the future
                future.set_exception(error)
            with self._lock:
                if late.is_set():
                    self._stuck_calls -= 1

        future.set_running_or_notify_cancel()
        self._start()
        self._jobs.put(job)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), timeout_s)
        except TimeoutError:
            with self._lock:
                if not future.done():
                    late.set()
                    self._stuck_calls += 1
            raise

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._main, name="keyring", daemon=True)
            self._thread.start()

    def _main(self) -> None:
        while True:
            self._jobs.get()()


def choose_secrets(
    choice: str,
    *,
    service: str,
    file: Path,
    passphrase: str | None = None,
    key_file: Path | None = None,
) -> Secrets:
    """Return the store for CLIPPERD_SECRETS: ``keyring``, ``memory`` or ``file``; opens nothing.

    Raises SecretsUnusable for another value, or for ``file`` without exactly one of a passphrase
    and a key file.
    """
    if choice == "keyring":
        return KeyringSecrets(service=service)
    if choice == "memory":
        return MemorySecrets("Chosen by the settings; the session ends when clipperd stops.")
    if choice != "file":
        raise SecretsUnusable("CLIPPERD_SECRETS must be keyring, memory or file.")
    from clipperd.keychain.sealed_file import FileSecrets

    if (passphrase is None) == (key_file is None):
        raise SecretsUnusable(
            "CLIPPERD_SECRETS=file needs CLIPPERD_SECRETS_PASSPHRASE or CLIPPERD_SECRETS_KEY_FILE."
        )
    return FileSecrets(file, passphrase=passphrase, key_file=key_file)
