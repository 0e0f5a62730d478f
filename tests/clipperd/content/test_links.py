from __future__ import annotations

import pytest

from clipperd.content.links import canonical, is_link, is_web, resolve


@pytest.mark.parametrize(
    "url", ["https://a.example/x?y#z", "http://a", "mailto:a@b.c", "tel:+49 1"]
)
def test_absolute_web_mail_and_phone_links_are_taken(url: str) -> None:
    assert is_link(url.replace(" ", ""))


@pytest.mark.parametrize(
    "url",
    [
        "", "/x", "#top", "x.html", "javascript:alert(1)", "file:///etc/passwd", "data:text/html,x",
        "https://", "https:///x", "http://[bad", "https://a b/", "mailto:", "HTTP:x",
        "https://a.example/" + "x" * 2000,
    ],
)  # fmt: skip
def test_what_notion_would_refuse_is_no_link(url: str) -> None:
    assert not is_link(url)


def test_media_need_a_web_address() -> None:
    assert is_web("HTTPS://A.example/i.png")
    assert not is_web("mailto:a@b.c")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://Example.ORG", "https://example.org/"),
        ("HTTPS://example.org:443/a", "https://example.org/a"),
        ("https://example.org/ä ö", "https://example.org/%C3%A4%20%C3%B6"),
        ("https://bücher.example/", "https://xn--bcher-kva.example/"),
    ],
)
def test_spellings_of_one_url_have_one_form(one: str, other: str) -> None:
    assert canonical(one) == canonical(other)


def test_different_urls_stay_different() -> None:
    assert canonical("https://a.example/x") != canonical("https://a.example/X")
    assert canonical("https://a.example/x") != canonical("https://a.example/x/")


def test_relative_links_resolve_against_a_base_only() -> None:
    assert resolve("b?c", "https://a.example/d/e") == "https://a.example/d/b?c"
    assert resolve("b", None) == "b"
    assert resolve("mailto:x@y.z", "https://a.example/") == "mailto:x@y.z"
