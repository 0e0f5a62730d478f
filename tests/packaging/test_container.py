"""The image: its contents, its user, its health check."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import tomllib
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from cloud_broker.settings.table import SETTINGS
from tests.packaging.parts import BROKER, ROOT, command_of, instructions, understood

IMAGE = re.compile(r"[a-z]+:[\w.-]+( AS \w+)?")  # a plain name with a tag: no registry's host
NAMES = {setting.name for setting in SETTINGS}


def last_stage() -> list[tuple[str, str]]:
    found = instructions()
    starts = [number for number, (name, _) in enumerate(found) if name == "FROM"]
    return found[starts[-1] :]


def of(name: str) -> list[str]:
    return [argument for kind, argument in instructions() if kind == name]


def test_it_is_built_in_one_stage_and_runs_in_another() -> None:
    assert len(of("FROM")) == 2
    assert all(IMAGE.fullmatch(image) for image in of("FROM"))
    copied = [argument for kind, argument in last_stage() if kind == "COPY"]
    assert copied == ["--from=build /opt/cloud-broker /opt/cloud-broker"]
    assert not [argument for kind, argument in last_stage() if "pip" in argument]


def test_everything_that_is_copied_is_there() -> None:
    sources = [
        source
        for argument in of("COPY")
        if not argument.startswith("--from=")
        for source in argument.split()[:-1]
    ]
    assert sources
    assert [source for source in sources if not (ROOT / source).exists()] == []


def test_everything_that_the_wheel_is_built_from_is_copied() -> None:
    copied = {source.rstrip("/") for argument in of("COPY") for source in argument.split()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert {*wheel, project["project"]["readme"], "pyproject.toml", "LICENSE"} <= copied


def test_nothing_is_installed_without_its_hash() -> None:
    installs = [line for line in of("RUN") if "pip install" in line]
    assert len(installs) == 3
    for line in installs:
        by_hash = "--require-hashes" in line and "--only-binary :all:" in line
        assert by_hash or "--no-index --no-deps /wheel/*.whl" in line


def test_it_runs_as_nobody_in_particular_and_writes_nowhere_but_to_its_data() -> None:
    (user,) = [argument for kind, argument in last_stage() if kind == "USER"]
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", user)
    kinds = [kind for kind, _ in last_stage()]
    assert kinds.index("USER") < kinds.index("ENTRYPOINT")
    assert "RUN" not in kinds[kinds.index("USER") :]
    made = [argument for kind, argument in last_stage() if kind == "RUN"]
    assert of("WORKDIR")[-1] in made[0]
    assert "--mode 0700" in made[0]


def test_it_starts_the_broker() -> None:
    (entry,), (command,) = of("ENTRYPOINT"), of("CMD")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert command_of(entry)[0] in project["project"]["scripts"]
    assert understood(command_of(command))
    assert of("STOPSIGNAL") == ["SIGTERM"]


def test_the_port_it_names_is_the_broker_s_default() -> None:
    (port,) = [setting.default for setting in SETTINGS if setting.name == "BROKER_PORT"]
    assert of("EXPOSE") == [port]


async def healthy(port: int) -> bool:
    """What the image's own check says of a broker at this port."""
    (check,) = of("HEALTHCHECK")
    words = command_of(check.partition(" CMD ")[2])
    assert words[0] == "python"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *words[1:],
        env={**os.environ, "BROKER_PORT": str(port)},
        stderr=asyncio.subprocess.DEVNULL,
    )
    return await asyncio.wait_for(process.wait(), 30) == 0


@pytest.mark.parametrize("status", [200, 503])
async def test_the_health_check_believes_the_answer(status: int) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response({}, status=status)

    app = web.Application()
    app.router.add_get("/healthz", answer)
    async with TestServer(app) as server:
        assert server.port is not None
        assert await healthy(server.port) == (status == 200)


async def test_the_health_check_fails_where_nobody_listens(unused_tcp_port: int) -> None:
    assert not await healthy(unused_tcp_port)


@pytest.mark.parametrize("file", sorted(BROKER.iterdir()), ids=lambda file: file.name)
def test_every_setting_that_is_named_exists_and_no_registry_is(file: Path) -> None:
    text = file.read_text("utf-8")
    assert set(re.findall(r"BROKER_[A-Z_]+[A-Z]", text)) - NAMES == set()
    hosts = re.findall(r"(?:docker|quay|ghcr|gcr|pypi|mcr)\.\w+", text)
    assert hosts == []
