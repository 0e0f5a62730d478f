"""Settings: all faults in one message, no secret shown, every setting documented."""

from __future__ import annotations

import base64
import os
import pickle
import re
from pathlib import Path

import pytest

from cloud_broker.errors import ConfigurationInvalid
from cloud_broker.secret import Secret
from cloud_broker.settings.config import Settings, read_file, service_variables
from cloud_broker.settings.keysource import KeysInFile
from cloud_broker.settings.parsers import raw_keys
from cloud_broker.settings.table import SETTINGS
from tests.cloud_broker.broker_stage import KEY, SEED, an_environment

DOCS = Path(__file__).parents[3] / "docs" / "broker-settings.md"


def faults(**changes: str) -> tuple[str, ...]:
    with pytest.raises(ConfigurationInvalid) as caught:
        Settings.from_env(an_environment(**changes))
    return caught.value.faults


def test_the_defaults_are_those_of_the_contract() -> None:
    settings = Settings.from_env(an_environment())
    assert settings.notion_api_url == "https://api.notion.com"
    assert settings.notion_version == "2026-03-11"
    assert (settings.notion_rate, settings.notion_burst, settings.limit_scale) == (2.5, 6, 1)
    assert settings.app_return_uris == ("notion-clipper://auth", "notion-clipper://auth/callback")
    assert settings.database_url == Secret("sqlite:///broker.db")
    assert settings.tiers == {"FREE": 1, "PRO": 2, "TEAM": 4}
    assert settings.billing_secrets is None


def test_a_billing_secret_needs_a_table_of_prices() -> None:
    (found,) = faults(BROKER_BILLING_SECRETS="whsec_of_the_endpoint")
    assert found == "BROKER_BILLING_TIERS is not set, so no price would buy a tier. Set it."


def test_billing_takes_secrets_and_a_table_of_prices() -> None:
    settings = Settings.from_env(
        an_environment(
            BROKER_BILLING_SECRETS="whsec_of_the_endpoint, whsec_of_the_next_one",
            BROKER_BILLING_TIERS="price_1:PRO, prod_2:TEAM,gold-plan:TEAM",
        )
    )
    assert settings.billing_secrets == (
        Secret("whsec_of_the_endpoint"),
        Secret("whsec_of_the_next_one"),
    )
    assert settings.billing_tiers == {"price_1": "PRO", "prod_2": "TEAM", "gold-plan": "TEAM"}
    assert "whsec" not in repr(settings)


def test_nothing_set_names_everything_that_is_needed() -> None:
    with pytest.raises(ConfigurationInvalid) as caught:
        Settings.from_env({})
    named = {fault.split(" ")[0] for fault in caught.value.faults}
    assert named == {setting.name for setting in SETTINGS if setting.required}


def test_all_faults_are_told_together() -> None:
    found = faults(BROKER_PORT="http", BROKER_PUBLIC_URL="broker", BROKER_NOTION_RATE="-1")
    assert [fault.split(":")[0] for fault in found] == [
        "BROKER_PORT",
        "BROKER_PUBLIC_URL",
        "BROKER_NOTION_RATE",
    ]


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("BROKER_PORT", "65536", "from 0 to 65535"),
        ("BROKER_PUBLIC_URL", "https://broker.example/path", "without a path"),
        ("BROKER_PUBLIC_URL", "https://user@broker.example", "origin"),
        ("BROKER_DATABASE_URL", "postgresql://", "postgresql://USER"),
        ("BROKER_DATABASE_URL", "mysql://db", "sqlite:///PATH"),
        ("BROKER_REDIS_URL", "redis://", "redis://HOST"),
        ("BROKER_WEBHOOK_PENDING", "yes", "from 0 to 1"),
        ("BROKER_NOTION_VERSION", "2022-06-28", "2025-09-03"),
        ("BROKER_ENCRYPTION_KEYS", "no-colon", "kid:base64"),
        ("BROKER_ENCRYPTION_KEYS", "one:@@@", "not base64"),
        ("BROKER_ENCRYPTION_KEYS", "one:c2hvcnQ=", "5 bytes"),
        ("BROKER_ENCRYPTION_KEYS", f"one:{KEY},one:{KEY}", "twice"),
        ("BROKER_SIGNING_KEYS", f"bad kid:{KEY}", "kid:base64"),
        ("BROKER_APP_RETURN_URIS", "https://evil.example", "own scheme"),
        ("BROKER_APP_RETURN_URIS", "javascript://x", "own scheme"),
        ("BROKER_APP_RETURN_URIS", "app://auth?x=1", "without a query"),
        ("BROKER_APP_RETURN_URIS", ",", "at least one"),
        ("BROKER_ACCESS_TOKEN_S", "601", "from 1 to 600"),
        ("BROKER_LIMIT_SCALE", "nan", "number"),
        ("BROKER_LOG_LEVEL", "LOUD", "DEBUG"),
        ("BROKER_TIERS", "FREE:1,PRO:2", "each of FREE, PRO, TEAM once"),
        ("BROKER_TIERS", "FREE:1,PRO:2,PRO:3,TEAM:4", "each of FREE, PRO, TEAM once"),
        ("BROKER_TIERS", "FREE:1,PRO:2,TEAM:4,GOLD:8", "each of FREE, PRO, TEAM once"),
        ("BROKER_TIERS", "FREE:0,PRO:2,TEAM:4", "from 0.001"),
        ("BROKER_BILLING_SECRETS", "whsec_short", "at least 16 characters"),
        ("BROKER_BILLING_SECRETS", "whsec_of_the_endpoint,", "at least 16 characters"),
        ("BROKER_BILLING_TIERS", "price_1", "price_…:TIER"),
        ("BROKER_BILLING_TIERS", "price_1:GOLD", "price_…:TIER"),
        ("BROKER_BILLING_TIERS", "price_1:PRO,price_1:TEAM", "again"),
        ("BROKER_BILLING_GRACE_DAYS", "-1", "from 0 to 365"),
        ("BROKER_TYPO", "1", "not a setting"),
    ],
)
def test_a_malformed_value_is_explained(name: str, value: str, why: str) -> None:
    (found,) = faults(**{name: value})
    assert name in found
    assert why in found


def test_the_variables_that_kubernetes_sets_for_a_service_are_ignored() -> None:
    address = "tcp://10.0.0.1:8787"
    service = {
        "BROKER_SERVICE_HOST": "10.0.0.1",
        "BROKER_SERVICE_PORT": "8787",
        "BROKER_SERVICE_PORT_HTTP": "8787",
        "BROKER_PORT": address,
        "BROKER_PORT_8787_TCP": address,
        "BROKER_PORT_8787_TCP_PROTO": "tcp",
        "BROKER_PORT_8787_TCP_PORT": "8787",
        "BROKER_PORT_8787_TCP_ADDR": "10.0.0.1",
        "BROKER_REDIS_SERVICE_HOST": "10.0.0.2",
        "BROKER_REDIS_PORT": address,
    }
    assert Settings.from_env(an_environment(**service)).port == 8787
    assert service_variables(an_environment(**service)) == sorted(service)
    assert service_variables(an_environment(BROKER_PORT="1", BROKER_TYPO="1")) == []


def test_no_fault_and_no_repr_shows_a_secret() -> None:
    secret = base64.b64encode(b"canary-canary").decode()
    shown = str(faults(BROKER_ENCRYPTION_KEYS=f"one:{secret}", BROKER_SIGNING_KEYS=secret))
    shown += repr(Settings.from_env(an_environment()))
    assert secret not in shown
    assert KEY not in shown
    assert "canary-client-secret" not in shown


def test_a_file_gives_values_and_the_environment_wins(tmp_path: Path) -> None:
    path = tmp_path / "broker.toml"
    path.write_text('port = 1\nnotion_burst = 9\napp_return_uris = ["a://b", "c://d"]\n')
    settings = Settings.from_env(an_environment(BROKER_PORT="2"), file=read_file(path))
    assert (settings.port, settings.notion_burst) == (2, 9)
    assert settings.app_return_uris == ("a://b", "c://d")


def test_an_unknown_key_of_the_file_is_a_fault() -> None:
    with pytest.raises(ConfigurationInvalid, match="prot is not a setting of the file"):
        Settings.from_env(an_environment(), file={"prot": 1})


@pytest.mark.parametrize("content", [None, b"no toml", b"\xff\xfe"])
def test_a_file_that_cannot_be_read_is_a_fault(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "broker.toml").write_bytes(content)
    with pytest.raises(ConfigurationInvalid):
        read_file(tmp_path / "broker.toml")


def test_a_key_is_its_bytes() -> None:
    settings = Settings.from_env(an_environment())
    assert raw_keys(settings.encryption_keys) == [("one", b"k" * 32)]


def a_key_file(folder: Path, content: bytes, mode: int = 0o400) -> str:
    path = folder / "sealing.keys"
    path.write_bytes(content)
    path.chmod(mode)
    return str(path)


def from_key_file(path: str) -> dict[str, str]:
    env = an_environment(BROKER_ENCRYPTION_KEYS_FILE=path)
    del env["BROKER_ENCRYPTION_KEYS"]
    return env


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o440])
def test_keys_may_stand_in_a_file_one_a_line(tmp_path: Path, mode: int) -> None:
    lines = f"# in use\ntwo:{SEED}\n\n  one:{KEY},\n"
    env = from_key_file(a_key_file(tmp_path, lines.encode(), mode))
    ring = raw_keys(Settings.from_env(env).encryption_keys)
    assert ring == [("two", b"s" * 32), ("one", b"k" * 32)]


@pytest.mark.parametrize(
    ("content", "mode", "why"),
    [
        (f"one:{KEY}".encode(), 0o404, "others can read"),
        (f"one:{KEY}".encode(), 0o602, "others can read or change"),
        (f"one:{KEY}".encode(), 0o660, "others can read or change"),
        (b"#" * 65_537, 0o400, "more than 65536 bytes"),
        (b"one:\xff", 0o400, "plain text"),
        (b"canary:canary-canary", 0o400, "key 1 is not base64"),
        (b"canary", 0o400, "kid:base64"),
        (b"", 0o400, "kid:base64"),
    ],
)
def test_a_bad_key_file_is_refused_and_not_quoted(
    tmp_path: Path, content: bytes, mode: int, why: str
) -> None:
    with pytest.raises(ConfigurationInvalid) as caught:
        Settings.from_env(from_key_file(a_key_file(tmp_path, content, mode)))
    (fault,) = caught.value.faults
    assert fault.startswith("BROKER_ENCRYPTION_KEYS_FILE: ")
    assert why in fault
    assert "canary" not in fault


def test_a_key_file_of_another_account_is_refused(tmp_path: Path) -> None:
    path = a_key_file(tmp_path, f"one:{KEY}".encode())
    if os.geteuid() == 0:  # root's own files are everybody's to trust
        os.chown(path, 65_534, 65_534)
    with pytest.raises(ValueError, match="another account"):
        KeysInFile(account=lambda: 4711).read(path)
    owner = Path(path).stat().st_uid
    assert KeysInFile(account=lambda: owner).read(path)[0][0] == "one"


@pytest.mark.parametrize("kind", ["nothing", "folder", "pipe"])
def test_what_is_no_file_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "keys"
    if kind == "folder":
        path.mkdir(mode=0o700)
    elif kind == "pipe":
        os.mkfifo(path, 0o400)
    with pytest.raises(ConfigurationInvalid) as caught:
        Settings.from_env(from_key_file(str(path)))
    (fault,) = caught.value.faults
    assert fault.startswith("BROKER_ENCRYPTION_KEYS_FILE: ")


def test_keys_in_the_setting_and_in_a_file_are_a_fault(tmp_path: Path) -> None:
    path = a_key_file(tmp_path, f"one:{KEY}".encode())
    (fault,) = faults(BROKER_SIGNING_KEYS_FILE=path)
    assert "BROKER_SIGNING_KEYS_FILE" in fault
    assert "BROKER_SIGNING_KEYS is set too" in fault
    with pytest.raises(ConfigurationInvalid, match="signing_keys_file in the file"):
        Settings.from_env(an_environment(), file={"signing_keys_file": path})


def test_a_secret_shows_itself_to_nobody() -> None:
    secret = Secret("canary")
    shown = f"{secret} {secret!r} {secret!s} {[secret]} {secret:>10}"
    assert "canary" not in shown
    assert secret == Secret("canary")
    assert secret != Secret("other")
    with pytest.raises(TypeError):
        pickle.dumps(secret)


def test_every_setting_is_documented_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `(BROKER_\w+)` \| ([^|]*) \|", DOCS.read_text(), re.MULTILINE))
    expected = {
        s.name: "required" if s.required else f"`{s.default}`" if s.default else "none"
        for s in SETTINGS
    }
    assert rows == expected
