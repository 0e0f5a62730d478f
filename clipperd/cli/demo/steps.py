"""The four steps of the demo. Each clips, looks at the sandbox, and prints the result.

A step is proven by the blocks on the sandbox's page and the count of its calls, not by the state
that the daemon reports.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from clipperd.cli.demo.processes import Programs
from clipperd.cli.demo.sandbox import Block, Sandbox, section_of, text_of
from clipperd.client import pause, until

PAGE = "Reading list"
_SECTION = "Articles"
_QUEUE_SECTION = "Inbox"
_ONE_SECTION = "Videos"
_DELIVERY_TIMEOUT_S = 45.0
_POLL_S = 0.1
_TEXT = """# A page of Markdown

Some *emphasis*, a [link](https://example.org), and a list:

- first
- second

## With a heading of its own

```python
print("and code")
```
"""

Say = Callable[[str], None]


class Steps:
    """The steps of one run."""

    def __init__(self, programs: Programs, sandbox: Sandbox, page_id: str, say: Say) -> None:
        """``say`` prints one line."""
        self._programs = programs
        self._sandbox = sandbox
        self._page_id = page_id
        self._say = say
        self._last_clip: dict[str, Any] = {}

    def file_to_section(self) -> bool:
        """Step 1: clip a Markdown file to the end of a section and count the calls."""
        name, text = readme()
        self._say(f"1. {name} ({len(text):,} characters) to the end of the section {_SECTION!r}")
        before = self._sandbox.blocks(self._page_id)
        self._sandbox.forget_calls()
        clip = self._clip({"format": "markdown", "markdown": text}, _SECTION)
        done = self._await_end(clip)
        calls = self._sandbox.calls()
        inside = _new(section_of(self._sandbox.blocks(self._page_id), _SECTION), before)
        everywhere = _new(self._sandbox.blocks(self._page_id), before)
        tail = section_of(self._sandbox.blocks(self._page_id), _SECTION)[-len(inside) :]
        right = bool(inside) and inside == everywhere and tail == inside
        self._say(f"   {len(inside)} blocks, together, at the end of that section: {_yes(right)}")
        listed = ", ".join(f"{n} × {route}" for route, n in sorted(calls.items()))
        self._say(f"   {sum(calls.values())} Notion calls ({listed})")
        self._say(f"   the old back end: {_old_calls(len(inside))}")
        return right and done["state"] == "delivered"

    def offline_and_killed(self) -> bool:
        """Step 2: clip five times without a broker, kill the daemon, start both again."""
        self._say(
            "2. The broker is stopped; five clips are accepted; the daemon is killed (kill -9)"
        )
        before = self._sandbox.blocks(self._page_id)
        self._programs.close_broker()
        texts = [f"Clip {number} of 5, taken offline" for number in range(1, 6)]
        clips = [self._clip({"format": "text", "text": text}, _QUEUE_SECTION) for text in texts]
        self._programs.daemon.kill()
        self._say(
            f"   accepted: {len(clips)}; only the sandbox runs; starting broker and daemon again"
        )
        self._programs.open_broker()
        self._programs.open_daemon()
        self._sandbox.forget_calls()
        states = [self._await_end(clip)["state"] for clip in clips]
        arrived = [text_of(b) for b in _new(self._sandbox.blocks(self._page_id), before)]
        inside = [
            text_of(b) for b in section_of(self._sandbox.blocks(self._page_id), _QUEUE_SECTION)
        ]
        right = arrived == texts and inside[-5:] == texts
        self._say(f"   on the page, each once and in order: {_yes(right)}")
        self._say(f"   {sum(self._sandbox.calls().values())} Notion calls for all five")
        return right and states == ["delivered"] * 5

    def failed_but_applied(self) -> bool:
        """Step 3: Notion applies a write and answers 503."""
        self._say("3. Notion applies the next write, then answers 503 as if it had failed")
        before = self._sandbox.blocks(self._page_id)
        self._sandbox.fail_next_append()
        text = "This one met a 503"
        clip = self._clip({"format": "text", "text": text}, _ONE_SECTION)
        self._last_clip = self._await_end(clip)
        arrived = [text_of(b) for b in _new(self._sandbox.blocks(self._page_id), before)]
        right = arrived == [text] and self._sandbox.fired() == 1
        self._say(f"   copies on the page: {arrived.count(text)} (a blind retry would make 2)")
        self._say(f"   state in the daemon: {self._last_clip['state']}")
        return right and self._last_clip["state"] == "delivered"

    def undo(self) -> bool:
        """Step 4: undo the clip of step 3."""
        self._say("4. Undo removes exactly the blocks of the last clip")
        before = self._sandbox.blocks(self._page_id)
        mine = {b for d in self._last_clip["deliveries"] for b in d["block_ids"]}
        self._programs.client.act(self._last_clip["id"], "undo")
        expected = [block["id"] for block in before if block["id"] not in mine]
        left: list[str] = []
        for _ in until(_DELIVERY_TIMEOUT_S):
            left = [block["id"] for block in self._sandbox.blocks(self._page_id)]
            if left == expected:
                break
            pause(_POLL_S)
        removed = len(before) - len(left)
        right = left == expected and removed == len(mine) > 0
        self._say(f"   {removed} removed, {len(left)} others untouched: {_yes(right)}")
        return right

    def _clip(self, content: dict[str, Any], heading: str) -> dict[str, Any]:
        position = {"type": "end_of_section", "heading": {"text": heading}}
        target = {"page_id": self._page_id, "position": position}
        return self._programs.client.clip({"targets": [target], "content": content})

    def _await_end(self, clip: dict[str, Any]) -> dict[str, Any]:
        current = clip
        for _ in until(_DELIVERY_TIMEOUT_S):
            current = self._programs.client.one_clip(clip["id"])
            if current["state"] in ("delivered", "failed", "needs_attention"):
                break
            pause(_POLL_S)
        if current["state"] != "delivered":
            self._say(f"   state in the daemon: {current['state']}")
        return current


def readme() -> tuple[str, str]:
    """Return the name and text of the project's README, or of a short text without one."""
    file = Path(__file__).parents[3] / "README.md"
    text = file.read_text("utf-8") if file.is_file() else ""
    return ("README.md", text) if len(text) > len(_TEXT) else ("A Markdown text", _TEXT)


def _new(blocks: Iterable[Block], before: list[Block]) -> list[Block]:
    known = {block["id"] for block in before}
    return [block for block in blocks if block["id"] not in known]


def _old_calls(blocks: int) -> str:
    # Counted in the old app: a scan of the page, then one call per hundred blocks.
    return "2–8 calls each time" if blocks <= 100 else "4 calls or more, at the wrong position"


def _yes(proven: bool) -> str:
    return "yes" if proven else "NO"
