"""The broker's pages in the browser: they name the account, and cannot be framed."""

from __future__ import annotations

from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer

from cloud_broker.randomness import SystemRandomness
from cloud_broker.web.problems import problems, request_ids
from tests.clocks import ManualClock
from tests.cloud_broker.broker_stage import HTML, BrokerStage, Person, state_of


def is_closed(page: ClientResponse) -> bool:
    """Whether nobody may frame the page, and it loads and sends nothing but its own."""
    policy = page.headers["Content-Security-Policy"]
    rules = dict(rule.strip().partition(" ")[::2] for rule in policy.split(";"))
    return (
        rules["default-src"] == "'none'"
        and rules["frame-ancestors"] == "'none'"
        and "unsafe" not in policy
        and page.headers["X-Frame-Options"] == "DENY"
        and page.headers["Referrer-Policy"] == "no-referrer"
        and page.headers["Cache-Control"] == "no-store"
        and page.headers["X-Content-Type-Options"] == "nosniff"
    )


async def arrived(
    stage: BrokerStage, code: str = "good-code", **changes: str | None
) -> ClientResponse:
    begun = await stage.begin_sign_in(**changes)
    return await stage.complete_sign_in(state=state_of(begun), code=code)


async def test_the_page_in_the_end_names_device_and_account(stage: BrokerStage) -> None:
    page = await (await arrived(stage, device="Ada's laptop")).text()
    assert "Notion Clipper on the device <b>Ada&#x27;s laptop</b>" in page
    assert "<b>Ada (ada@example.org)</b>" in page
    failed = await (await arrived(stage, code="used-code")).text()
    assert "<b>Ada&#x27;s laptop</b> is not signed in" in failed


async def test_names_on_the_page_are_text(stage: BrokerStage) -> None:
    evil = "</b><script>alert(1)</script>"
    stage.notion.person = Person(name=evil, email='"><img src=x onerror=y>')
    page = await (await arrived(stage, device=evil)).text()
    assert "<script>alert" not in page
    assert "<img" not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") == 2


async def test_no_page_can_be_framed_or_loads_anything(stage: BrokerStage) -> None:
    pages = {
        "signed in": await arrived(stage),
        "failed": await arrived(stage, code="used-code"),
        "denied": await stage.complete_sign_in(
            state=state_of(await stage.begin_sign_in()), error="access_denied"
        ),
        "unknown state": await stage.complete_sign_in(state="x" * 43, code="c"),
        "bad address": await stage.browser.get("/api/auth/notion?source=x", headers=HTML),
    }
    begun = await stage.begin_sign_in()
    stage.browser.session.cookie_jar.clear()
    pages["another browser"] = await stage.complete_sign_in(state=state_of(begun), code="good-code")
    stage.notion.person = Person(id="somebody-else")
    pages["taken"] = await arrived(stage)
    for _ in range(30):
        pages["too many"] = await stage.browser.get("/api/auth/notion", headers=HTML)
    statuses = [200, 409, 403, 400, 400, 403, 409, 429]
    assert [page.status for page in pages.values()] == statuses
    for name, page in pages.items():
        assert page.content_type == "text/html", name
        assert is_closed(page), name
        assert "Notion Clipper</title>" in await page.text(), name


async def test_no_other_address_answers_with_a_page(stage: BrokerStage) -> None:
    routes = [route for route in stage.app.router.routes() if route.method != "*"]
    for route in routes:
        path = route.resource.canonical if route.resource is not None else ""
        for each in (path, f"{path}/nothing-here"):
            answer = await stage.browser.request(
                route.method, each, headers=HTML, allow_redirects=False
            )
            if answer.content_type == "text/html":
                assert is_closed(answer), each
    assert len(routes) > 15


async def test_a_page_that_sets_no_policy_gets_the_strictest() -> None:
    async def bare(_: web.Request) -> web.Response:
        return web.Response(text="<p>x</p>", content_type="text/html")

    app = web.Application(middlewares=[request_ids(ManualClock(), SystemRandomness()), problems])
    app.router.add_get("/bare", bare)
    async with TestClient(TestServer(app)) as client:
        assert is_closed(await client.get("/bare"))
