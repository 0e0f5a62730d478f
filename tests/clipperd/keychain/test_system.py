"""Every store of secrets keeps the same contract; the keyring keeps it despite its faults."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import keyring
import keyring.backend
import keyring.backends.fail
import keyring.backends.null
import keyring.errors
import pytest

from clipperd.keychain import keyring_child
from clipperd.keychain.child_process import in_process, run_command
from clipperd.keychain.errors import KeychainLocked, SecretsUnusable
from clipperd.keychain.sealed_file import FileSecrets
from clipperd.keychain.secrets import Secrets
from clipperd.keychain.system import KeyringSecrets, MemorySecrets, choose_secrets

Make = Callable[[], Secrets]
ROOT = Path(__file__).parents[3]
IN_PROCESS = in_process(keyring_child.handle)


class FakeKeyring(keyring.backend.KeyringBackend):
    """A healthy keyring in this process, with switches for the faults of real ones."""

    priority = 9

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.entries: dict[tuple[str, str], str] = {}
        self.locked = False
        self.answering = threading.Event()
        self.answering.set()
        self.took_new = threading.Event()

    def _wait(self) -> None:
        self.answering.wait()
        if self.locked:
            raise keyring.errors.KeyringLocked("Failed to unlock the collection!")

    def get_password(self, service: str, username: str) -> str | None:
        self._wait()
        return self.entries.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self._wait()
        self.entries[service, username] = password
        if password == "new":
            self.took_new.set()

    def delete_password(self, service: str, username: str) -> None:
        self._wait()
        if (service, username) not in self.entries:
            raise keyring.errors.PasswordDeleteError("not found")
        del self.entries[service, username]


class PlaintextKeyring(FakeKeyring):
    """Represents the file backend of keyrings.alt, which keyring may choose silently."""


PlaintextKeyring.__module__ = "keyrings.alt.file"


@pytest.fixture
def system() -> Iterator[FakeKeyring]:
    """Install the fake keyring as this machine's keyring."""
    before = keyring.get_keyring()
    fake = FakeKeyring()
    keyring.set_keyring(fake)
    yield fake
    fake.answering.set()
    keyring.set_keyring(before)


@pytest.fixture
def behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set a keyring for the subprocesses of this test."""
    monkeypatch.setenv("FILE_KEYRING", str(tmp_path / "kept.json"))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "tests.clipperd.file_keyring.FileKeyring")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.fixture(params=["memory", "keyring", "keyring in a process", "file", "file with key file"])
def make(request: pytest.FixtureRequest, tmp_path: Path, system: FakeKeyring, behind: None) -> Make:
    """Return a function that opens the same store again."""
    memory = MemorySecrets()
    key_file = tmp_path / "key"
    key_file.write_bytes(bytes(range(32)))
    key_file.chmod(0o600)
    box = tmp_path / "secrets"
    makers: dict[str, Make] = {
        "memory": lambda: memory,
        "keyring": lambda: KeyringSecrets(IN_PROCESS, service="clipperd"),
        "keyring in a process": lambda: KeyringSecrets(service="clipperd", timeout_s=60),
        "file": lambda: FileSecrets(box, passphrase="correct horse"),
        "file with key file": lambda: FileSecrets(box, key_file=key_file),
    }
    return makers[str(request.param)]


async def test_what_is_set_can_be_got_after_opening_again(make: Make) -> None:
    await make().set("session:ada", "s3cret ü")
    assert await make().get("session:ada") == "s3cret ü"


async def test_the_last_value_wins(make: Make) -> None:
    store = make()
    await store.set("a", "1")
    await store.set("a", "2")
    assert await store.get("a") == "2"
    assert await make().get("a") == "2"


async def test_names_are_apart_and_nothing_is_none(make: Make) -> None:
    store = make()
    await store.set("a", "1")
    assert await store.get("b") is None


async def test_deleting_forgets_and_deleting_nothing_is_fine(make: Make) -> None:
    store = make()
    await store.set("a", "1")
    await store.delete("a")
    await store.delete("a")
    assert await store.get("a") is None
    assert await make().get("a") is None


async def test_many_at_once_lose_nothing(make: Make) -> None:
    store = make()
    await asyncio.gather(*(store.set(f"n{i}", str(i)) for i in range(10)))
    again = make()
    assert [await again.get(f"n{i}") for i in range(10)] == [str(i) for i in range(10)]


async def test_every_store_says_where_secrets_are(make: Make) -> None:
    store = make()
    await store.open()
    assert store.mode in ("secure", "memory", "file")


# --- the keyring ----------------------------------------------------------------------------


async def test_a_healthy_keyring_is_secure_and_keeps_no_probe(system: FakeKeyring) -> None:
    store = KeyringSecrets(IN_PROCESS, service="clipperd")
    assert store.mode == "opening"
    await store.open()
    assert (store.mode, store.why) == ("secure", None)
    assert system.entries == {}


@pytest.mark.parametrize(
    "backend", [keyring.backends.fail.Keyring, keyring.backends.null.Keyring, PlaintextKeyring]
)
async def test_backends_that_keep_nothing_secret_are_refused(
    system: FakeKeyring, backend: type[keyring.backend.KeyringBackend]
) -> None:
    keyring.set_keyring(backend())
    store = KeyringSecrets(IN_PROCESS, service="clipperd")
    await store.set("a", "1")
    assert store.mode == "memory"
    assert store.why is not None
    assert await store.get("a") == "1"
    assert await store.get("b") is None
    if isinstance(found := keyring.get_keyring(), FakeKeyring):
        assert found.entries == {}


async def test_a_keyring_that_forgets_at_once_is_refused(system: FakeKeyring) -> None:
    class Forgetful(FakeKeyring):
        def get_password(self, service: str, username: str) -> str | None:
            return None

    keyring.set_keyring(Forgetful())
    store = KeyringSecrets(IN_PROCESS, service="clipperd")
    await store.set("a", "1")
    assert store.mode == "memory"


def standing(store: Secrets) -> tuple[str, bool]:
    return store.mode, store.why is not None


async def test_a_locked_keyring_is_not_an_empty_one(system: FakeKeyring) -> None:
    await KeyringSecrets(IN_PROCESS, service="clipperd").set("a", "1")
    system.locked = True
    store = KeyringSecrets(IN_PROCESS, service="clipperd")
    with pytest.raises(KeychainLocked) as locked:
        await store.get("a")
    assert locked.value.sent is False
    assert standing(store) == ("memory", True)
    system.locked = False
    assert await store.get("a") == "1"
    assert standing(store) == ("secure", False)


async def test_what_was_set_while_locked_is_stored_once_it_opens(system: FakeKeyring) -> None:
    store = KeyringSecrets(IN_PROCESS, service="clipperd")
    await store.open()
    system.locked = True
    await store.set("a", "1")
    await store.set("a", "2")
    assert await store.get("a") == "2"
    assert (store.mode, system.entries) == ("memory", {})
    system.locked = False
    await store.set("b", "3")
    assert system.entries == {("clipperd", "a"): "2", ("clipperd", "b"): "3"}
    assert store.mode == "secure"


async def test_a_keyring_that_shows_a_dialog_blocks_no_caller(system: FakeKeyring) -> None:
    system.answering.clear()
    store = KeyringSecrets(IN_PROCESS, service="clipperd", timeout_s=0.05)
    await store.open()
    assert store.mode == "memory"
    await store.set("a", "1")
    assert await store.get("a") == "1"
    with pytest.raises(KeychainLocked):
        await store.get("b")


async def test_a_value_that_hung_does_not_overwrite_a_newer_one(system: FakeKeyring) -> None:
    store = KeyringSecrets(IN_PROCESS, service="clipperd", timeout_s=0.05)
    await store.open()
    system.answering.clear()
    await store.set("a", "old")
    await store.set("a", "new")
    system.answering.set()
    assert await asyncio.to_thread(system.took_new.wait, 30)  # the stuck thread goes on by itself
    assert await KeyringSecrets(IN_PROCESS, service="clipperd").get("a") == "new"


async def test_only_the_subprocess_loads_the_keyring(behind: None) -> None:
    code = (
        "import asyncio, sys\n"
        "from clipperd.keychain.system import KeyringSecrets\n"
        "async def main():\n"
        "    store = KeyringSecrets(service='clipperd', timeout_s=60)\n"
        "    await store.set('a', 's3cret')\n"
        "    loaded = {'keyring', 'cryptography'} & set(sys.modules)\n"
        "    print(store.mode, await store.get('a'), sorted(loaded))\n"
        "asyncio.run(main())"
    )
    done = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await done.communicate()
    assert out.decode().strip() == "secure s3cret []"


async def test_an_error_in_the_subprocess_is_reported_by_its_name(
    behind: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = KeyringSecrets(service="clipperd", timeout_s=60)
    await store.set("a", "1")
    monkeypatch.setenv("FILE_KEYRING", "/nowhere/at/all")
    with pytest.raises(KeychainLocked):
        await store.get("a")
    assert (store.mode, "FileNotFoundError" in str(store.why)) == ("memory", True)


async def test_a_subprocess_that_dies_is_a_keyring_that_does_not_answer() -> None:
    store = KeyringSecrets(
        run_command([sys.executable, "-c", "input()"]), service="clipperd", timeout_s=60
    )
    await store.set("a", "1")
    assert await store.get("a") == "1"
    assert store.mode == "memory"


async def test_homes_do_not_see_each_other(system: FakeKeyring) -> None:
    await KeyringSecrets(IN_PROCESS, service="clipperd").set("a", "1")
    assert await KeyringSecrets(IN_PROCESS, service="clipperd:/other/home").get("a") is None


# --- the choice -----------------------------------------------------------------------------


def test_the_settings_choose_the_store(tmp_path: Path) -> None:
    file = tmp_path / "secrets"
    assert isinstance(choose_secrets("keyring", service="s", file=file), KeyringSecrets)
    assert choose_secrets("memory", service="s", file=file).mode == "memory"
    chosen = choose_secrets("file", service="s", file=file, passphrase="p")
    assert chosen.mode == "file"
    assert not file.exists()


@pytest.mark.parametrize(
    ("choice", "passphrase", "key_file"),
    [("plain", None, None), ("file", None, None), ("file", "p", Path("/k"))],
)
def test_an_impossible_choice_is_refused(
    tmp_path: Path, choice: str, passphrase: str | None, key_file: Path | None
) -> None:
    with pytest.raises(SecretsUnusable):
        choose_secrets(
            choice,
            service="s",
            file=tmp_path / "secrets",
            passphrase=passphrase,
            key_file=key_file,
        )
