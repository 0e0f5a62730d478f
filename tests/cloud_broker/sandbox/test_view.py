"""The sandbox's pages for the browser."""

from __future__ import annotations

import base64
import hashlib

from cloud_broker.sandbox import seed
from tests.cloud_broker.sandbox.sandbox_stage import SandboxStage, paragraph, rich


async def html(stage: SandboxStage, path: str, status: int = 200) -> str:
    response = await stage.client.get(path)
    assert response.status == status
    return await response.text()


async def test_the_index_lists_every_page(stage: SandboxStage) -> None:
    text = await html(stage, "/")
    assert f'href="/p/{seed.READING_LIST}"' in text
    assert "Northwind Team" in text


async def test_every_seed_page_can_be_shown(stage: SandboxStage) -> None:
    for page in (await stage.control("GET", "pages"))["pages"]:
        assert "<h1>" in await html(stage, f"/p/{page['id']}")
    assert "<h1>" in await html(stage, f"/p/{seed.DATABASE}")


async def test_a_page_shows_its_blocks_with_ids_as_anchors(stage: SandboxStage) -> None:
    block = seed.block_id("reading", 1)
    text = await html(stage, f"/p/{seed.READING_LIST}")
    assert f'id="{block}"' in text
    assert f'href="#{block}"' in text


async def test_text_and_links_cannot_break_out(stage: SandboxStage) -> None:
    evil = '<script>alert(1)</script>"'
    link = {"text": {"content": evil, "link": {"url": 'javascript:alert("x")'}}}
    await stage.append(
        seed.EMPTY_PAGE,
        paragraph(evil),
        {"paragraph": {"rich_text": [link]}},
        {"callout": {"rich_text": rich(evil), "icon": {"emoji": "<b>é</b>"}}},
        {"bookmark": {"url": 'javascript:alert("x")'}},
        {"image": {"external": {"url": 'http://e/"><script>'}}},
    )
    text = await html(stage, f"/p/{seed.EMPTY_PAGE}")
    assert "<script>alert" not in text
    assert 'href="javascript' not in text
    assert '"><script>' not in text


async def test_the_page_is_told_of_changes_only(stage: SandboxStage) -> None:
    path = f"/p/{seed.EMPTY_PAGE}"
    response = await stage.client.get(path)
    since = response.headers["X-Revision"]
    assert (await stage.client.get(f"{path}?fragment=1&since={since}")).status == 204
    (made,) = await stage.append(seed.EMPTY_PAGE, paragraph("fresh"))
    response = await stage.client.get(f"{path}?fragment=1&since={since}")
    assert made["id"] in await response.text()
    assert response.headers["X-Revision"] != since


async def test_what_is_not_there_is_said_so(stage: SandboxStage) -> None:
    await html(stage, "/p/x", 404)
    await html(stage, f"/p/{seed.block_id('reading', 1)}", 404)


async def test_only_the_page_s_own_script_may_run(stage: SandboxStage) -> None:
    response = await stage.client.get(f"/p/{seed.READING_LIST}")
    script = (await response.text()).partition("<script>")[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = response.headers["Content-Security-Policy"]
    assert f"script-src 'sha256-{digest}'" in policy
