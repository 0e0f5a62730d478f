"""The compose file: the order of starts, the networks, and the source of secrets."""

from __future__ import annotations

import re
from ipaddress import ip_network
from typing import Any

import pytest
import yaml

from cloud_broker.settings.table import SETTINGS
from tests.packaging.parts import BROKER, understood

COMPOSE: dict[str, Any] = yaml.safe_load((BROKER / "compose.yaml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = ("migrate", "broker")
DEFAULTS = {setting.name: setting.default for setting in SETTINGS}


def seconds(text: str) -> int:
    match = re.fullmatch(r"(\d+)s", text)
    assert match is not None
    return int(match[1])


def test_a_broker_starts_when_its_database_is_there_and_migrated() -> None:
    waits = {name: each["condition"] for name, each in SERVICES["broker"]["depends_on"].items()}
    assert waits == {
        "postgres": "service_healthy",
        "redis": "service_healthy",
        "migrate": "service_completed_successfully",
    }
    assert SERVICES["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert SERVICES["migrate"]["restart"] == "no"


@pytest.mark.parametrize("name", OURS)
def test_the_commands_are_the_broker_s(name: str) -> None:
    command = SERVICES[name]["command"]
    assert command[0] in ("run", "migrate")
    assert understood(command)


@pytest.mark.parametrize("name", ["postgres", "redis"])
def test_what_is_waited_for_says_when_it_is_well(name: str) -> None:
    check = SERVICES[name]["healthcheck"]
    assert check["test"][0] in ("CMD", "CMD-SHELL")
    assert seconds(check["interval"]) <= 10


def test_the_database_s_check_is_not_taken_in_by_the_image_s_setting_up() -> None:
    # Meanwhile its server listens on a socket only.
    test = SERVICES["postgres"]["healthcheck"]["test"]
    assert "127.0.0.1" in test[test.index("-h") + 1]


def test_secrets_come_from_files_and_stand_nowhere_else() -> None:
    used = {secret for service in SERVICES.values() for secret in service.get("secrets", [])}
    assert used == set(COMPOSE["secrets"])
    assert all(set(each) == {"file"} for each in COMPOSE["secrets"].values())
    secret_settings = {setting.name for setting in SETTINGS if setting.secret}
    for service in SERVICES.values():
        names = set(service.get("environment", {}))
        assert not names & secret_settings
        assert all(name.endswith("_FILE") for name in names if "PASSWORD" in name)


def test_every_secret_that_a_command_reads_is_given_to_it() -> None:
    for service in SERVICES.values():
        told = str([service.get(part) for part in ("command", "environment", "healthcheck")])
        read = set(re.findall(r"/run/secrets/([\w.-]+)", told))
        assert read <= set(service.get("secrets", []))


def test_database_and_redis_are_reached_from_inside_only() -> None:
    assert COMPOSE["networks"]["inside"]["internal"] is True
    for name in ("postgres", "redis", "migrate"):
        assert SERVICES[name]["networks"] == ["inside"]
        assert "ports" not in SERVICES[name]


def test_the_broker_is_published_to_this_machine_only_and_believes_no_other_proxy() -> None:
    (port,) = SERVICES["broker"]["ports"]
    assert re.fullmatch(rf"127\.0\.0\.1:\d+-\d+:{DEFAULTS['BROKER_PORT']}", port)
    trusted = ip_network(SERVICES["broker"]["environment"]["BROKER_TRUSTED_PROXIES"])
    (config,) = COMPOSE["networks"]["outside"]["ipam"]["config"]
    assert trusted == ip_network(config["subnet"])


@pytest.mark.parametrize("name", OURS)
def test_a_broker_can_change_nothing_and_gain_nothing(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "volumes" not in service
    assert "user" not in service  # the image's own


def test_a_stopping_broker_has_the_time_that_it_takes() -> None:
    takes_s = sum(float(DEFAULTS[name] or 0) for name in ("BROKER_DRAIN_S", "BROKER_ANNOUNCE_S"))
    assert seconds(SERVICES["broker"]["stop_grace_period"]) > takes_s


def test_redis_keeps_nothing_on_disk() -> None:
    assert SERVICES["redis"]["read_only"] is True
    assert "volumes" not in SERVICES["redis"]


@pytest.mark.parametrize("name", SERVICES)
def test_images_have_plain_names_and_pinned_releases(name: str) -> None:
    image = SERVICES[name]["image"]
    assert "latest" not in image
    assert image == "cloud-broker" or re.fullmatch(r"[a-z]+:\d[\w.-]*", image)
