"""Kills a real daemon with SIGKILL at any moment: on accept, send, commit or checkpoint."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.chaos.crashes import Findings, Producer, examine, posting, wait
from tests.stack.stack import running

_PRODUCERS = 4
_PAGES = 3
_LIFE_S = (0.0, 1.2)
_DRAIN_S = 300.0
_SETTINGS = {"CLIPPERD_MAX_PARALLEL_PAGES": "3"}


@dataclass
class Outcome:
    """What the files said after each kill, and the pages at the end."""

    files: Findings = field(default_factory=Findings)
    missing: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    overtaken: list[str] = field(default_factory=list)

    @property
    def wrong(self) -> bool:
        """Whether a promise was broken."""
        return self.files.wrong or bool(self.missing or self.doubled or self.overtaken)

    def __str__(self) -> str:
        return (
            f"{self.files}; on the pages {len(self.missing)} missing,"
            f" {len(self.doubled)} doubled, {len(self.overtaken)} out of order"
        )


def kills(count: int, seed: int, say: Callable[[str], None]) -> Outcome:
    """Kill the daemon so often while four apps post and it delivers; then let it drain."""
    rng = Random(f"kills {seed}")
    found = Outcome()
    with (
        tempfile.TemporaryDirectory(prefix="clipperd-kills-") as folder,
        running(Path(folder), **_SETTINGS) as stack,
    ):
        pages = [stack.notion.page(f"Kills {n}") for n in range(_PAGES)]
        producers = [
            Producer(f"p{n}", [{"page_id": pages[n % _PAGES].id}]) for n in range(_PRODUCERS)
        ]
        for number in range(count):
            with posting(stack.client, producers, rng, pause_s=0.02, large=0.05):
                wait(rng.uniform(*_LIFE_S))
                stack.kill_daemon()
            examine(stack.home / "outbox.db", producers, found.files)
            stack.open_daemon()
            if (number + 1) % 50 == 0:
                say(f"  {found.files}")
        for producer in producers:  # what was not answered is posted again, as apps do
            if producer.posted > producer.acked:
                producer.post(stack.client, rng, 0.0)
        stack.client.queue("retry")
        stack.drained(_DRAIN_S)
        for page in pages:
            mine = [each for each in producers if each.targets == [{"page_id": page.id}]]
            _judge(stack.notion.texts(page.id), mine, found)
    return found


def _judge(texts: list[str], producers: list[Producer], found: Outcome) -> None:
    """Each clip once, and each producer's clips in the order in which it posted them."""
    heads = [text.partition(" ")[0] for text in texts]
    there = Counter(heads)
    for producer in producers:
        due = [producer.key(n) for n in range(1, producer.posted + 1)]
        found.missing += [key for key in due if not there[key]]
        found.doubled += [key for key in due if there[key] > 1]
        seen = [head for head in heads if head in set(due)]
        if seen != [key for key in due if there[key]] and not found.doubled:
            found.overtaken.append(producer.name)
