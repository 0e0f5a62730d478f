"""The documents against the tree: links lead somewhere, named files and tests exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
GUIDE = ROOT / "tests" / "README.md"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), GUIDE])
LINK = re.compile(r"\]\(([^)\s]+)\)")
FILE = re.compile(r"`((?:clipperd|cloud_broker|tests|packaging|docs)/[\w./-]*)`")
TEST = re.compile(r"`(test_\w+)`")


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def anchors(document: Path) -> set[str]:
    """The anchors that its headings make, as GitHub forms them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text("utf-8"), re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return {heading.replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_link_inside_the_project_leads_somewhere(document: Path) -> None:
    lost = []
    for target in LINK.findall(document.read_text("utf-8")):
        path, _, anchor = target.partition("#")
        if "://" in path or path.startswith("mailto:"):
            continue
        file = (document.parent / path).resolve() if path else document
        if not file.exists() or (anchor and anchor not in anchors(file)):
            lost.append(target)
    assert lost == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_file_that_is_named_exists(document: Path) -> None:
    named = FILE.findall(document.read_text("utf-8"))
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_test_that_is_named_exists(document: Path) -> None:
    named = set(TEST.findall(document.read_text("utf-8")))
    known: set[str] = set()
    for file in (ROOT / "tests").rglob("test_*.py"):
        known |= set(re.findall(r"def (test_\w+)", file.read_text("utf-8"))) if named else set()
    assert named - known == set()


def test_the_guide_to_tests_names_classes_and_functions_that_exist() -> None:
    sources = "\n".join(file.read_text("utf-8") for file in (ROOT / "tests").rglob("*.py"))
    named = set(re.findall(r"`([A-Z]\w+|a_\w+)`", GUIDE.read_text("utf-8")))
    assert named - set(re.findall(r"^(?:class|def) (\w+)", sources, re.MULTILINE)) == set()


def test_every_example_in_the_guide_to_tests_is_in_the_file_that_it_names() -> None:
    examples = re.findall(
        r"`(tests/[\w/]+\.py)`\n\n```python\n(.+?)```", GUIDE.read_text("utf-8"), re.S
    )
    assert len(examples) >= 15
    for file, example in examples:
        lines = {line.strip() for line in (ROOT / file).read_text("utf-8").splitlines()}
        assert [line for line in example.splitlines() if line.strip() not in lines] == [], file


@pytest.mark.parametrize("package", ["clipperd", "cloud_broker"])
def test_the_readme_lists_every_folder_of_a_package(package: str) -> None:
    tree = (ROOT / "README.md").read_text("utf-8").partition(f"\n{package}/")[2]
    rows = re.split(r"\n(?! )", tree)[0]
    names = "".join(re.findall(r"^  (\w+/(?:  \w+/)*)", rows, re.MULTILINE))
    listed = set(names.replace(" ", "").rstrip("/").split("/"))
    assert listed == {file.parent.name for file in (ROOT / package).glob("*/__init__.py")}


def test_the_index_leads_to_every_document() -> None:
    index = (ROOT / "docs" / "README.md").read_text("utf-8")
    listed = {(ROOT / "docs" / target).resolve() for target in LINK.findall(index)}
    assert {d for d in (ROOT / "docs").glob("*.md") if d.name != "README.md"} <= listed


def test_the_index_of_decisions_leads_to_every_record() -> None:
    folder = ROOT / "docs" / "decisions"
    index = (folder / "README.md").read_text("utf-8")
    assert {file.name for file in folder.glob("0*.md")} == set(LINK.findall(index))


@pytest.mark.parametrize(
    ("document", "count", "heading"),
    [
        ("broker-requirements.md", 44, "## Deviations and gaps"),
        ("daemon-requirements.md", 47, "## Deviations and gaps"),
        ("queue-requirements.md", 44, "## Deviations and gaps"),
    ],
)
def test_every_requirement_has_a_place_and_tests(document: str, count: int, heading: str) -> None:
    text = (ROOT / "docs" / document).read_text("utf-8")
    rows = re.findall(r"^\| ([0-9]+) \| (.+) \| (.+) \| (.+) \| (.+) \|$", text, re.MULTILINE)
    assert [int(row[0]) for row in rows] == list(range(1, count + 1))
    begun = [row for row in rows if row[4] != "later"]
    untested = [number for number, _, _, tests, _ in begun if not TEST.findall(tests)]
    homeless = [number for number, _, where, _, _ in begun if not FILE.findall(where)]
    assert untested == homeless == []
    notes = text.partition(heading)[2]
    explained = {
        n for found in re.findall(r"^- \*\*(.+?)\.\*\*", notes, re.M) for n in found.split(", ")
    }
    assert {row[0] for row in rows if row[4] != "yes"} == explained
