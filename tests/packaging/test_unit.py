"""The systemd unit: start, restart, stop, and confinement."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from cloud_broker.cli import main
from cloud_broker.cli.serve import OPEN_FILES
from cloud_broker.settings.table import SETTINGS
from tests.packaging.parts import BROKER, understood, unit

SERVICE = unit()["Service"]
DEFAULTS = {setting.name: setting.default for setting in SETTINGS}
EXECUTABLE = "/opt/cloud-broker/bin/cloud-broker"
WORST_EXPOSURE = 2.0  # of 10, as systemd-analyze security counts
FENCES = {
    "NoNewPrivileges": "yes",
    "CapabilityBoundingSet": "",
    "AmbientCapabilities": "",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "ProtectProc": "invisible",
    "ProtectClock": "yes",
    "ProtectHostname": "yes",
    "ProtectControlGroups": "yes",
    "ProtectKernelLogs": "yes",
    "ProtectKernelModules": "yes",
    "ProtectKernelTunables": "yes",
    "PrivateTmp": "yes",
    "PrivateDevices": "yes",
    "PrivateUsers": "yes",
    "RestrictNamespaces": "yes",
    "RestrictRealtime": "yes",
    "RestrictSUIDSGID": "yes",
    "LockPersonality": "yes",
    "MemoryDenyWriteExecute": "yes",
    "SystemCallArchitectures": "native",
    "UMask": "0077",
    "LimitCORE": "0",
}


def one(name: str) -> str:
    (value,) = SERVICE[name]
    return value


def test_it_runs_the_broker_as_a_user_of_its_own_with_secrets_from_a_credential() -> None:
    words = one("ExecStart").split()
    assert words[0] == EXECUTABLE
    assert understood(words[1:])
    assert words[words.index("--config") + 1] == "%d/broker.toml"
    assert one("LoadCredential").startswith("broker.toml:/etc/cloud-broker/")
    assert one("DynamicUser") == "yes"
    assert one("EnvironmentFile") == "/etc/cloud-broker/broker.env"


def test_it_is_fenced_in() -> None:
    assert {name: SERVICE.get(name) for name in FENCES} == {n: [v] for n, v in FENCES.items()}
    assert SERVICE["SystemCallFilter"] == ["@system-service", "~@privileged"]
    assert set(one("RestrictAddressFamilies").split()) == {"AF_INET", "AF_INET6", "AF_UNIX"}


def test_its_only_place_to_write_is_its_own() -> None:
    assert one("StateDirectory") == "cloud-broker"
    assert one("WorkingDirectory") == "%S/cloud-broker"
    assert one("StateDirectoryMode") == "0700"
    assert not {"ReadWritePaths", "BindPaths"} & set(SERVICE)


def test_it_is_started_again_for_ever_but_not_when_only_an_operator_can_help() -> None:
    assert one("Restart") == "on-failure"
    assert unit()["Unit"]["StartLimitIntervalSec"] == ["0"]
    assert set(one("RestartPreventExitStatus").split()) == {
        "2",
        str(main.CONFIGURATION),
        str(main.KEYS),
    }


def test_a_stopping_broker_has_the_time_that_it_takes() -> None:
    takes_s = sum(float(DEFAULTS[name] or 0) for name in ("BROKER_DRAIN_S", "BROKER_ANNOUNCE_S"))
    assert float(one("TimeoutStopSec")) > takes_s
    assert int(one("LimitNOFILE")) >= OPEN_FILES


def test_systemd_itself_takes_it_where_there_is_one(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """What holds everywhere is tested above; the end of the run says whether this was done."""
    tool = shutil.which("systemd-analyze")
    if tool is None:
        record_property("table: packaging", "systemd-analyze is not here: own checks only")
        return
    file = tmp_path / "cloud-broker.service"
    text = (BROKER / "cloud-broker.service").read_text("utf-8")
    assert EXECUTABLE in text
    file.write_text(text.replace(EXECUTABLE, sys.executable))  # it must exist
    verified = subprocess.run(
        [tool, "verify", "--man=no", str(file)], capture_output=True, text=True, timeout=50
    )
    # An unknown directive is told and forgiven with exit code 0.
    ours = [line for line in verified.stderr.splitlines() if file.name in line]
    assert (verified.returncode, ours) == (0, [])
    judged = subprocess.run(
        [tool, "security", "--offline=true", str(file)], capture_output=True, text=True, timeout=50
    )
    exposure = re.search(r"Overall exposure level for \S+: ([\d.]+)", judged.stdout)
    assert exposure is not None, judged.stderr
    assert float(exposure[1]) <= WORST_EXPOSURE
    record_property("table: packaging", f"systemd-analyze: valid, exposure {exposure[1]} of 10")
