"""Settings: their precedence, refused values, and documentation."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from clipperd.settings import config
from clipperd.settings import file as config_file
from clipperd.settings.errors import ConfigInvalid

DOCS = Path(__file__).parents[3] / "docs" / "daemon-settings.md"


def test_flags_beat_environment_beats_file_beats_default() -> None:
    env = {"CLIPPERD_PORT": "2", "CLIPPERD_LOG_LEVEL": "error", "PATH": "/bin"}
    settings = config.load(env, {"port": "3"}, "port = 1\nlog_level = 'debug'\nretry_cap_s = 9\n")
    got = [(getattr(settings, n), settings.origin(n)) for n in ("port", "log_level", "retry_cap_s")]
    assert got == [(3, "flag"), ("error", "environment"), (9.0, "config.toml")]
    assert settings.origin("secrets") == "default"


def test_nothing_given_gives_the_defaults() -> None:
    settings = config.load({}, {"port": None}, "")
    assert (settings.settle_unknown_s, settings.settle_answered_s) == (65.0, 10.0)


def test_every_fault_is_named_at_once_with_its_source() -> None:
    with pytest.raises(ConfigInvalid) as caught:
        config.load({"CLIPPERD_PROT": "1"}, {"log_level": "loud"}, "colour = 1\nport = 'x'\n")
    for part in ("CLIPPERD_PROT", "Did you mean port?", "log_level (flag)", "colour", "port ("):
        assert part in caught.value.detail


def test_a_broken_file_names_its_line() -> None:
    with pytest.raises(ConfigInvalid, match=r"config\.toml is not valid TOML: .* line 2"):
        config.load({}, {}, "port = 1\nport == 2\n")


@pytest.mark.parametrize(
    "url",
    [
        "broker.example.org",
        "http://broker.example.org",
        "http://192.168.0.2",
        "ftp://x",
        "https://",
        "https://u:p@x",
        "https://:p@x",
        "https://x?q=1",
        "https://x/?a=1",
    ],
)
def test_an_unsafe_broker_address_is_refused(url: str) -> None:
    with pytest.raises(ConfigInvalid, match="broker_url"):
        config.load({}, {"broker_url": url}, "")


@pytest.mark.parametrize(
    "url", ["http://localhost:80", "http://127.0.0.1:80", "http://[::1]:80/", "https://x.org/base/"]
)
def test_a_safe_broker_address_loses_its_last_slash(url: str) -> None:
    assert config.load({}, {"broker_url": url}, "").broker_url == url.rstrip("/")


@pytest.mark.parametrize("origin", ["*", "http://x/", "null", "http://x?y"])
def test_only_exact_origins_are_allowed(origin: str) -> None:
    with pytest.raises(ConfigInvalid, match=r"ALLOWED_ORIGINS .* must be exact"):
        config.load({"CLIPPERD_ALLOWED_ORIGINS": f"http://localhost:5173,{origin}"}, {}, "")


def test_the_passphrase_is_never_shown_nor_kept_in_the_file() -> None:
    settings = config.load({"CLIPPERD_SECRETS_PASSPHRASE": "canary"}, {}, "")
    assert settings.secrets_passphrase == "canary"
    assert "canary" not in repr(settings)
    with pytest.raises(ConfigInvalid, match="cannot be set in") as caught:
        config.load({}, {}, "secrets_passphrase = 'canary'\n")
    assert "canary" not in caught.value.detail


def test_a_flag_of_true_is_no_number() -> None:
    with pytest.raises(ConfigInvalid, match="port"):
        config.load({}, {}, "port = true\n")


def test_editing_keeps_comments_and_replaces_the_line() -> None:
    text = "# mine\nport = 1 # old\nlog_level = 'info'\n"
    edited = config_file.edit(text, "port", "2")
    assert edited == "# mine\nport = 2\nlog_level = 'info'\n"


def test_editing_adds_and_removes() -> None:
    added = config_file.edit("# mine", "allowed_origins", "http://a, http://b")
    assert added == '# mine\nallowed_origins = ["http://a", "http://b"]\n'
    assert config_file.edit(added, "allowed_origins", "") == "# mine\n"


def test_editing_refuses_a_value_that_does_not_fit() -> None:
    with pytest.raises(ConfigInvalid, match="port"):
        config_file.edit("", "port", "many")


def test_the_documentation_has_every_setting_with_its_default() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `?(.*?)`? \|", DOCS.read_text(), re.MULTILINE)
    assert dict(rows) == {name: _shown(config.describe(name).default) for name in config.names()}


def _shown(default: object) -> str:
    if default in (None, ()):
        return "none"
    return f"{default:g}" if isinstance(default, float) else str(default)
