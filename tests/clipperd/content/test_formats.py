"""Every row of FORMATS is served: by the converter, the API's description, its page and the CLI."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from openapi_schema_validator import OAS31Validator

from clipperd.content import convert
from clipperd.content.formats import FORMATS, SUPPORTED, json_schema
from clipperd.errors import FormatUnsupported
from clipperd.web.handlers import clips
from clipperd.web.handlers import convert as conversion
from clipperd.web.openapi import document
from tests.clipperd.cli.commands import run

API = (Path(__file__).parents[3] / "docs" / "api.md").read_text("utf-8")
EXAMPLES: dict[str, Any] = {
    "markdown": "# Hi",
    "text": "hi",
    "url": "https://a.example/",
    "blocks": [{"type": "divider", "divider": {}}],
}
"""The value of each format's required key."""


@pytest.mark.parametrize("name", SUPPORTED)
def test_a_supported_format_converts_as_described(name: str) -> None:
    content = {"format": name, next(iter(FORMATS[name].keys)): EXAMPLES[name]}
    OAS31Validator(json_schema()).validate(content)
    assert convert.prepare(content).format == name


@pytest.mark.parametrize("name", SUPPORTED)
def test_a_format_takes_its_own_keys_only(name: str) -> None:
    described = OAS31Validator(json_schema())
    content = {"format": name, next(iter(FORMATS[name].keys)): EXAMPLES[name]}
    assert not described.is_valid({"format": name})
    assert not described.is_valid({**content, "more": 1})


@pytest.mark.parametrize("name", sorted(FORMATS.keys() - set(SUPPORTED)))
def test_a_format_without_a_converter_is_refused_with_the_ones_that_work(name: str) -> None:
    with pytest.raises(FormatUnsupported) as caught:
        convert.prepare({"format": name})
    assert ", ".join(SUPPORTED) in str(caught.value.hint)


def test_the_description_names_the_formats_wherever_content_is_sent() -> None:
    schemas = document((*clips.ROUTES, *conversion.ROUTES))["components"]["schemas"]
    one = {"$ref": "#/components/schemas/ContentObject"}
    for shape in ("ClipBody", "EditBody", "ConvertBody"):
        assert one in schemas[shape]["properties"]["content"]["anyOf"]
    mapping = schemas["ContentObject"]["discriminator"]["mapping"]
    assert mapping.keys() == set(SUPPORTED)
    for name, ref in mapping.items():
        described = schemas[ref.rpartition("/")[2]]
        assert described["properties"].keys() == {"format", "headings", *FORMATS[name].keys}


def test_the_page_of_the_api_names_every_supported_format() -> None:
    row = next(line for line in API.splitlines() if "`content.format`" in line)
    assert [name for name in SUPPORTED if f"`{name}`" not in row] == []


def test_the_command_line_offers_every_supported_format(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path, "clip", "--help")
    assert "{" + ",".join(SUPPORTED) + "}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "suffix", [s for row in FORMATS.values() if row.load is None for s in row.suffixes]
)
def test_the_command_line_refuses_a_file_of_an_unsupported_format(
    tmp_path: Path, suffix: str
) -> None:
    result = run(tmp_path, "clip", "--page", "Inbox", f"file{suffix}")
    assert result.code == 2
    assert "cannot be clipped" in result.err
