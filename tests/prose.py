"""Checks the prose of code and documents for the words that CONTRIBUTING.md refuses.

``python -m tests.prose`` prints each fault as ``file:line: word (say: ...)`` and then the figures.
It exits with 1 while there is a fault or a figure misses its goal.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
ADVICE = {
    r"anew": "again, from scratch",
    r"(?:again|rests?|runs?|on|comes?|look|fetched|filled|ended|done|works?|told),? behind"
    r"(?= ?[.,;:)|]|$| and | or )": "in the background",
    r"so long(?! (?:as|that)\b)": "for this many seconds, until then",
    r"told": "reported, sent, known",
    r"tells? of": "reports",
    r"whoever|whatever|whichever": "name the actor or the thing",
    r"a person|somebody|nobody": "you, the user, the client, nothing",
    r"(?:foretell|befall)(?:s|ing)?": "estimate; happen to",
    r"by itself|by themselves": "automatically, alone",
    r"(?:had|has|have) (?:had )?(?:its|their) time": "expired",
    r"thereby|hence": "so, therefore",
    r"at once": "immediately, at the same time",
    r"(?:is|are|was|were) to be": "must be, will be",
    r"beforehand": "first, earlier",
    r"comes to": "becomes, ends in, reaches",
    r"goes on(?! (?:an?|the|its|disk|top)\b)": "continues",
    r"vouch(?:es|ed|ing)?": "known fresh",
    r"(?<!no )(?<!in )doubt(?:s|ed)?": "suspect, uncertain",
}
"""Pattern of a refused word to the words to use instead."""
WORDS = {re.compile(rf"(?<![\w-])(?:{p})(?![\w-])", re.I): say for p, say in ADVICE.items()}
DOCSTRING = re.compile(r'\A"""(.*?)"""', re.S)
QUESTION = re.compile(r'"""(?:What|Where|When|Which|Who|Whom|Whose|How|Why|Whether)\b')
RELATIVE = re.compile(r"\b(?:what|where|which|who|whoever|whatever|whose|whom)\b", re.I)
READER = re.compile(r"\b(?:you|your|yours)\b", re.I)
MOST_RELATIVES, LEAST_READER = 6.0, 10.0  # per 1,000 words of all documents together
CODE = re.compile(r"^ *```.*?^ *```|``.+?``|`[^`]+`|\]\([^)]*\)|<[^<>]+>|https?://\S+", re.M | re.S)
HELP = {"help", "description", "epilog"}  # keywords of argparse whose text users read
LOGS = {"debug", "info", "warning", "error", "exception", "critical"}

Passage = tuple[int, str]  # the line at which a piece of prose begins, and its text


def without_code(text: str) -> str:
    """Return ``text`` with code, link targets and markup taken out, and the same line numbers."""
    return CODE.sub(lambda found: " ` " + "\n" * found[0].count("\n"), text)


def strings(tree: ast.AST) -> Iterator[Passage]:
    """Yield docstrings, help texts of argparse, log messages, and sentences of raised errors."""
    for node in ast.walk(tree):
        shown: list[ast.expr] = []
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            shown = [node.value]
        elif isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            shown = node.exc.args
        elif isinstance(node, ast.Call):
            shown = [keyword.value for keyword in node.keywords if keyword.arg in HELP]
            if isinstance(node.func, ast.Attribute) and node.func.attr in LOGS:
                shown += node.args
        for part in (part for root in shown for part in ast.walk(root)):
            if isinstance(part, ast.Constant) and isinstance(part.value, str):
                yield part.lineno, part.value


def comments(source: str) -> Iterator[Passage]:
    """Yield the comments, adjacent lines as one passage."""
    begin, rows = 0, list[str]()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            if rows and token.start[0] != begin + len(rows):
                yield begin, "\n".join(rows)
                rows = []
            begin = begin if rows else token.start[0]
            rows.append(token.string.lstrip("#"))
    yield begin, "\n".join(rows)


def prose_of(file: Path) -> Iterator[Passage]:
    """Yield the prose of a document or a module; of a test only its module docstring."""
    source = file.read_text("utf-8")
    if file.suffix == ".md":
        yield 1, source
    elif file.is_relative_to(ROOT / "tests"):
        yield from ((1, text) for text in DOCSTRING.findall(source))
    else:
        yield from strings(ast.parse(source))
        yield from comments(source)


def faults_of(passage: Passage) -> Iterator[tuple[int, str, str]]:
    """Yield line, word and advice for each refused word, across the ends of lines."""
    starts, lines, words, length = list[int](), list[int](), list[str](), 0
    for line, row in enumerate(without_code(passage[1]).split("\n"), passage[0]):
        for word in row.split():
            starts.append(length)
            lines.append(line)
            words.append(word)
            length += len(word) + 1
    joined = " ".join(words)
    for pattern, advice in WORDS.items():
        for found in pattern.finditer(joined):
            yield lines[bisect_right(starts, found.start()) - 1], found[0], advice


def per_thousand(pattern: re.Pattern[str], text: str) -> float:
    """Return how often ``pattern`` occurs per 1,000 words of ``text``."""
    return 1_000 * len(pattern.findall(text)) / max(1, len(re.findall(r"[^\W\d_]+", text)))


def report() -> tuple[list[str], bool]:
    """Return the faults and figures of the tree, line by line, and whether the prose is plain."""
    code = [f for top in ("clipperd", "cloud_broker", "tests") for f in (ROOT / top).rglob("*.py")]
    documents = sorted(
        [*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md"), ROOT / "tests" / "README.md"]
    )
    lines, counts = list[str](), Counter[str]()
    for file in [*sorted(code), *documents]:
        name = file.relative_to(ROOT).as_posix()
        found = [fault for passage in prose_of(file) for fault in faults_of(passage)]
        if file.suffix == ".py" and QUESTION.match(file.read_text("utf-8")):
            found.append((1, "a question word opens the module", "a verb or a noun"))
        lines += [f"{name}:{line}: {word} (say: {say})" for line, word, say in sorted(found)]
        counts[name.partition("/")[0]] += len(found)
    texts = {file: without_code(file.read_text("utf-8")) for file in documents}
    texts[ROOT / "docs"] = "\n".join(text for file, text in texts.items() if "docs" in file.parts)
    lines += [f"{len(lines)} faults: {dict(counts)}", "Per 1,000 words, free relatives and you:"]
    figures = {f: (per_thousand(RELATIVE, t), per_thousand(READER, t)) for f, t in texts.items()}
    for file, (relatives, reader) in figures.items():
        lines.append(f"{relatives:6.1f}{reader:6.1f}  {file.relative_to(ROOT).as_posix()}")
    lines.append(f"{MOST_RELATIVES:6.1f}{LEAST_READER:6.1f}  goals of docs: at most, at least")
    relatives, reader = figures[ROOT / "docs"]
    is_plain = counts.total() == 0 and relatives <= MOST_RELATIVES and reader >= LEAST_READER
    return lines, is_plain


if __name__ == "__main__":
    printed, plain = report()
    sys.stdout.write("\n".join(printed) + "\n")
    sys.exit(not plain)
