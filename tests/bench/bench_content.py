"""Speed of conversion and planning, as ratios to what markdown-it needs for parsing alone."""

from __future__ import annotations

import time
from collections.abc import Callable

from clipperd.content import chunks, convert, dialect

_SECTION = """## Section with *emphasis* and `code`

A paragraph with **bold**, _italic_, a [link](https://example.org/path?q=1) and some more text that
goes on for a while, so that it looks like prose: https://example.com/page.

- first item with text
  - nested item with [another link](https://example.net)
    - third level, **bold**
- [ ] a task
- [x] a task that is done

> A quotation with two lines
> of text in it.

| name | value | note |
|------|------:|------|
| one  | 1     | `a`  |
| two  | 2     | *b*  |

```python
def work(x):
    return x + 1
```

"""


def document(size_bytes: int) -> str:
    """Mixed Markdown of about ``size_bytes``."""
    return _SECTION * (size_bytes // len(_SECTION))


def best(work: Callable[[], object], rounds: int = 5) -> float:
    """CPU seconds of the fastest of ``rounds`` runs."""
    times = []
    for _ in range(rounds):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


HARD: dict[str, str] = {
    "one paragraph of 300 KB": "word *em* `c` " * 21_000,
    "one word of 300 KB": "x" * 300_000,
    "300,000 quotes": ">" * 300_000,
    "5,000 nested lists": "- " * 5_000 + "end",
    "20,000 open brackets": "[" * 20_000,
    "images in images": "![" * 3_000 + "x" + "](u)" * 3_000,
    "unclosed tags": "<a " * 50_000,
    "unclosed comments": "<!-- " * 50_000,
    "50,000 emphasis marks": "*a_ " * 50_000,
    "50,000 bare URLs": "https://a.example/b " * 15_000,
    "table of 5,000 rows": "|a|b|\n|-|-|\n" + "|x|y|z|\n" * 5_000,
    "closing brackets after a URL": "https://a.b" + ")" * 100_000,
    "a styled tag a line": "<style></style>\n\n" * 10_000 + "end",
    "footnotes": "".join(f"[^{n}] " for n in range(3_000))
    + "\n\n"
    + "".join(f"[^{n}]: note\n" for n in range(3_000)),
}
"""Inputs on which converters have been seen to take minutes or lose text."""


def run() -> list[str]:
    """Lines for ``make bench``: 200 KB of Markdown, then the hard inputs."""
    source = document(200_000)

    def planned(text: str) -> None:
        chunks.plan(convert.prepare({"format": "markdown", "markdown": text}).blocks)

    dialect.parse(source)
    parse_s = best(lambda: dialect.parse(source))
    whole_s = best(lambda: planned(source))
    lines = [
        f"content: 200 KB of Markdown to planned requests {whole_s * 1000:.0f} ms, "
        f"{whole_s / parse_s:.2f} x markdown-it's own {parse_s * 1000:.0f} ms"
    ]
    for name, text in HARD.items():
        own = best(lambda text=text: planned(text), 1)  # type: ignore[misc]
        lines.append(f"content: {name}: {own:.2f} s ({len(text) / own / 1e6:.2f} MB/s)")
    return lines
