"""The requirements of a broker's machine: exactly the broker's imports."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions, requires
from typing import Any

import pytest
from packaging.requirements import Requirement

from tests.packaging.parts import PACKAGING, ROOT, pinned

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
FILES = ("requirements-broker.txt", "requirements-build.txt", "requirements-dev.txt")


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def imported() -> set[str]:
    """The packages from elsewhere that the broker imports anywhere."""
    modules: set[str] = set()
    for file in (ROOT / "cloud_broker").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                modules |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module is not None:
                modules.add(node.module.split(".")[0])
    known = packages_distributions()
    foreign = modules - set(sys.stdlib_module_names) - {"cloud_broker"}
    return {plain(known[module][0]) for module in foreign}


def needed_by(names: set[str]) -> set[str]:
    """``names`` and all that they need, here."""
    found, todo = set(), {(name, "") for name in names}
    while todo:
        name, extra = todo.pop()
        found.add(name)
        for line in requires(name) or []:
            asked = Requirement(line)
            if asked.marker is None or asked.marker.evaluate({"extra": extra}):
                wanted = plain(asked.name)
                if wanted not in found:
                    todo.add((wanted, ""))
    return found


def test_the_broker_s_requirements_are_what_it_imports_and_what_that_needs() -> None:
    locked = set(pinned("requirements-broker.txt"))
    needed = needed_by(imported())
    assert needed <= locked
    # What other versions of Python and other interpreters need is locked as well.
    assert locked - needed <= {"async-timeout", "typing-extensions"}


def test_the_group_asks_for_the_versions_that_the_package_asks_for() -> None:
    project = PROJECT["project"]
    extras = project["optional-dependencies"]
    ours = {*project["dependencies"], *extras["broker"], *extras["broker-scale"]}
    assert set(PROJECT["dependency-groups"]["broker"]) <= ours
    assert set(PROJECT["dependency-groups"]["build"]) <= set(PROJECT["build-system"]["requires"])


@pytest.mark.parametrize("name", FILES[:2])
def test_what_is_installed_is_what_was_tested(name: str) -> None:
    tested = pinned("requirements-dev.txt")
    assert {package: tested.get(package) for package in pinned(name)} == pinned(name)


@pytest.mark.parametrize("name", FILES)
def test_every_package_is_pinned_by_hash_and_no_registry_is_named(name: str) -> None:
    assert pinned(name)
    assert all(each.hashes for each in pinned(name).values())
    assert "://" not in (PACKAGING / name).read_text("utf-8")
