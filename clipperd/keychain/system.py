"""Where the session's secrets live: the system's keyring, this process's memory, or a sealed file.

Asking the keyring may put a dialog on the screen and block for minutes, so it is asked in a
thread of its own, and every call has a time limit.
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
from clipperd.keychain.child_process import Aside, beside
from clipperd.keychain.errors import KeychainLocked, SecretsUnusable
from clipperd.keychain.keyring import Keyring, KeyringRefused, NoKeyring
from clipperd.keychain.secrets import Mode, Secrets

T = TypeVar("T")

_BESIDE = beside("clipperd.keychain.keyring_child", keyring_child.answered)

PATIENCE_S = 5.0
"""A healthy Secret Service answers in 40 ms, its process starts in 200; a dialog never answers."""


class MemorySecrets:
    """Secrets until the process ends."""

    mode: Mode = "memory"

    def __init__(self, why: str | None = None) -> None:
        """``why`` explains to people why nothing better is used."""
        self.why = why
        self._values: dict[str, str] = {}

    async def open(self) -> None:
        """Nothing to do."""

    async def get(self, name: str) -> str | None:
        """Return the secret or None."""
        return self._values.get(name)

    async def set(self, name: str, value: str) -> None:
        """Keep ``value``."""
        self._values[name] = value

    async def delete(self, name: str) -> None:
        """Forget the secret."""
        self._values.pop(name, None)


class KeyringSecrets:
    """The system's keyring, with memory in front of it while it is missing or locked.

    What is to be stored waits in ``_wanted`` until the keyring has taken it, so a keyring that
    opens late gets the newest value and never an older one. A keyring that is *locked* is not
    one that is empty: then :meth:`get` raises KeychainLocked rather than return None.
    """

    def __init__(
        self,
        aside: Aside = _BESIDE,
        *,
        service: str,
        patience_s: float = PATIENCE_S,
    ) -> None:
        """``service`` is the name under which the entries are kept, one per home folder."""
        self._aside = aside
        self._service = service
        self._patience_s = patience_s
        self._thread = _KeyringThread()
        self._opening = asyncio.Lock()
        self._wanted: dict[str, str | None] = {}
        self._guard = threading.Lock()
        self._absent = False
        self._mode: Mode = "opening"
        self._why: str | None = None

    @property
    def mode(self) -> Mode:
        """Secure once the keyring has kept a probe, memory while it does not."""
        return self._mode

    @property
    def why(self) -> str | None:
        """What is wrong with the keyring."""
        return self._why

    async def open(self) -> None:
        """Write, read and delete a probe, once."""
        async with self._opening:
            if self._mode == "opening":
                with contextlib.suppress(KeychainLocked):  # told by mode and why
                    await self._ask(self._probe)

    async def get(self, name: str) -> str | None:
        """Return the newest value set here, else the keyring's."""
        await self.open()
        with self._guard:
            if name in self._wanted:
                return self._wanted[name]
        if self._absent:
            return None
        return await self._ask(lambda keyring: keyring.get(name))

    async def set(self, name: str, value: str) -> None:
        """Keep ``value`` here, then in the keyring."""
        await self._want(name, value)

    async def delete(self, name: str) -> None:
        """Forget it here, then in the keyring."""
        await self._want(name, None)

    async def _want(self, name: str, value: str | None) -> None:
        await self.open()
        with self._guard:
            self._wanted[name] = value
        if not self._absent:
            with contextlib.suppress(KeychainLocked):  # it stays wanted, and mode and why tell
                await self._ask(self._store)

    async def _ask(self, work: Callable[[Keyring], T]) -> T:
        """Run ``work`` in the keyring's thread. Raises KeychainLocked when that fails or lasts."""

        def asked() -> T:
            with self._aside() as ask:
                return work(Keyring(ask, self._service))

        try:
            result = await self._thread.run(asked, self._patience_s)
        except NoKeyring:
            self._absent = True
            self._fall_back("This machine has no keyring; the session ends with the program.")
            raise KeychainLocked("This machine has no keyring.") from None
        except TimeoutError:
            self._fall_back("The keyring does not answer; it may be waiting for its password.")
            raise KeychainLocked("The keyring does not answer.") from None
        except Exception as error:  # backends are plug-ins: each raises what its library raises
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

    def _store(self, keyring: Keyring) -> None:
        """Bring the keyring up to what is wanted, also to what was wanted meanwhile."""
        while True:
            with self._guard:
                if not self._wanted:
                    return
                name, value = next(iter(self._wanted.items()))
            if value is not None:
                keyring.set(name, value)
            elif keyring.get(name) is not None:
                keyring.delete(name)
            with self._guard:
                if self._wanted.get(name, value) == value:
                    self._wanted.pop(name, None)


class _KeyringThread:
    """One thread, started at first use, that nobody waits for at exit: a dialog may hold it."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._overdue = 0
        self._guard = threading.Lock()

    async def run(self, work: Callable[[], T], patience_s: float) -> T:
        """Return what ``work`` returns. Raises TimeoutError after ``patience_s`` seconds, or at
        once while an earlier call is still stuck: one dialog on the screen is enough."""
        if self._overdue:
            raise TimeoutError
        future: Future[T] = Future()
        late = threading.Event()

        def job() -> None:
            try:
                future.set_result(work())
            except BaseException as error:  # handed to whoever awaits the future
                future.set_exception(error)
            with self._guard:
                if late.is_set():
                    self._overdue -= 1

        future.set_running_or_notify_cancel()
        self._start()
        self._jobs.put(job)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), patience_s)
        except TimeoutError:
            with self._guard:
                if not future.done():
                    late.set()
                    self._overdue += 1
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
    """Make the store that CLIPPERD_SECRETS asks for: ``keyring``, ``memory`` or ``file``.

    Opens nothing yet. Raises SecretsUnusable for another word, or for ``file`` without exactly
    one of a passphrase and a key file.
    """
    if choice == "keyring":
        return KeyringSecrets(service=service)
    if choice == "memory":
        return MemorySecrets("Chosen by the settings; the session ends with the program.")
    if choice != "file":
        raise SecretsUnusable("CLIPPERD_SECRETS is keyring, memory or file.")
    from clipperd.keychain.sealed_file import FileSecrets

    if (passphrase is None) == (key_file is None):
        raise SecretsUnusable(
            "CLIPPERD_SECRETS=file needs CLIPPERD_SECRETS_PASSPHRASE or CLIPPERD_SECRETS_KEY_FILE."
        )
    return FileSecrets(file, passphrase=passphrase, key_file=key_file)
