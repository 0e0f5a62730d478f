"""Parses the files under ``packaging/`` into their structure."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cloud_broker.cli.main import parser_for

ROOT = Path(__file__).parents[2]
PACKAGING = ROOT / "packaging"
BROKER = PACKAGING / "broker"


@dataclass(frozen=True)
class Pinned:
    """One line of a requirements file."""

    version: str
    hashes: frozenset[str]


def pinned(name: str) -> dict[str, Pinned]:
    """A requirements file by package; each entry pins one version, with hashes."""
    text = (PACKAGING / name).read_text("utf-8").replace("\\\n", " ")
    found = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            match = re.match(
                r"([a-z0-9-]+)(?:\[[\w,]+\])?==([\w.]+)(?: ;[^#]*?)? +(--hash=.*)", line
            )
            assert match is not None, line
            hashes = frozenset(part.removeprefix("--hash=") for part in match[3].split())
            found[match[1]] = Pinned(match[2], hashes)
    return found


def instructions() -> list[tuple[str, str]]:
    """The Containerfile's instructions with their arguments, in order."""
    text = (BROKER / "Containerfile").read_text("utf-8")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    return [
        (line.partition(" ")[0], line.partition(" ")[2].strip()) for line in joined.splitlines()
    ]


def command_of(argument: str) -> list[str]:
    """A JSON array such as ``CMD`` takes."""
    found: list[str] = json.loads(argument)
    return found


def unit() -> dict[str, dict[str, list[str]]]:
    """The unit: section, directive, its values in order."""
    sections: dict[str, dict[str, list[str]]] = {}
    section = ""
    for line in (BROKER / "cloud-broker.service").read_text("utf-8").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        if line.startswith("["):
            section = line.strip("[]")
            sections[section] = {}
            continue
        name, equals, value = line.partition("=")
        assert equals, line
        sections[section].setdefault(name, []).append(value)
    return sections


@dataclass
class Block:
    """A block of nginx's configuration: its head, directives with arguments, blocks inside."""

    head: tuple[str, ...]
    directives: dict[str, list[tuple[str, ...]]] = field(default_factory=dict)
    blocks: list[Block] = field(default_factory=list)

    def one(self, name: str) -> tuple[str, ...]:
        """The arguments of a directive that stands here once."""
        (found,) = self.directives[name]
        return found

    def inside(self, *head: str) -> Block:
        """The one block with this head."""
        (found,) = [block for block in self.blocks if block.head == head]
        return found


def nginx() -> Block:
    """The proxy's configuration as a tree."""
    text = (BROKER / "nginx.conf").read_text("utf-8")
    lexer = shlex.shlex(text, posix=True, punctuation_chars=";{}")
    lexer.wordchars += "/:$[]=?%@,"
    top = Block(())
    _fill(top, iter(_apart(lexer)))
    return top


def _apart(tokens: Iterator[str] | shlex.shlex) -> Iterator[str]:
    """``};`` and the like come as one token."""
    for token in tokens:
        yield from token if token and set(token) <= set(";{}") else (token,)


def _fill(block: Block, tokens: Iterator[str]) -> None:
    words: list[str] = []
    for token in tokens:
        if token == ";":
            block.directives.setdefault(words[0], []).append(tuple(words[1:]))
            words = []
        elif token == "{":
            block.blocks.append(Block(tuple(words)))
            _fill(block.blocks[-1], tokens)
            words = []
        elif token == "}":
            return
        else:
            words.append(token)


def understood(words: Sequence[str]) -> bool:
    """Whether ``cloud-broker`` takes these words as its arguments."""
    try:
        parser_for(words).parse_args(list(words))
    except SystemExit as end:
        return end.code == 0
    return True
