"""Parts of files: the daemon streams their forms to Notion."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from clipperd.errors import BrokerUnreachable
from clipperd.web.handlers.notion import PART_BYTES
from clipperd.web.keys import Limits
from tests.clipperd.web.middleware_stage import TOKEN, MiddlewareStage, raw_request, running_api

UPLOAD = "22222222-2222-4222-8222-222222222222"
PATH = f"/v1/notion/file_uploads/{UPLOAD}/send"
FORM = {"Content-Type": "multipart/form-data; boundary=cut"}


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[MiddlewareStage]:
    async with running_api(tmp_path) as opened:
        yield opened


@pytest.mark.parametrize("path", [PATH, PATH.replace("/v1/notion/", "/v1/notion/v1/")])
async def test_a_part_goes_through_while_its_end_is_still_to_come(
    api: MiddlewareStage, path: str
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"--cut\r\nbegun"
        await api.notion.hears.wait()  # for ever, if the daemon waited for the end first
        yield b"--cut--"

    status, _, _ = await api.call("POST", path, data=pieces(), headers=FORM)
    ((to, form, got),) = api.notion.parts
    assert (status, to) == (200, f"file_uploads/{UPLOAD}/send")
    assert (form.content_type, form.size_bytes) == (FORM["Content-Type"], None)
    assert got == b"--cut\r\nbegun--cut--"


async def test_a_part_that_says_its_length_is_handed_on_with_it(api: MiddlewareStage) -> None:
    await api.call("POST", PATH, data=b"x" * 70_000, headers=FORM)
    ((_, form, got),) = api.notion.parts
    assert form.size_bytes == len(got) == 70_000


async def test_a_part_over_twenty_megabytes_is_refused_by_its_length_and_by_its_bytes(
    api: MiddlewareStage,
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(PART_BYTES // (1 << 20) + 1):
            yield b"x" * (1 << 20)

    head = f"Authorization: Bearer {TOKEN}\r\nContent-Length: {PART_BYTES + 1}\r\n"
    told = (f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1:{api.port}\r\n{head}").encode()
    told += f"Content-Type: {FORM['Content-Type']}\r\n\r\n".encode()
    assert (await raw_request(api.port, told))[0] == 413
    status, body, _ = await api.call("POST", PATH, data=pieces(), headers=FORM)
    assert (status, body["additional_data"]) == (413, {"clipperd_code": "body_too_large"})
    assert api.notion.parts == []


@pytest.mark.parametrize(
    "kind", ["application/json", "multipart/form-data", "multipart/form-data; boundary=a b", ""]
)
async def test_a_part_that_is_no_form_is_refused(api: MiddlewareStage, kind: str) -> None:
    for data in (b"x", None):
        status, body, _ = await api.call("POST", PATH, data=data, headers={"Content-Type": kind})
        assert (status, body["additional_data"]["clipperd_code"]) == (415, "unsupported_media_type")
    packed = FORM | {"Content-Encoding": "gzip"}
    assert (await api.call("POST", PATH, data=b"x", headers=packed))[0] == 415
    assert api.notion.parts == []


async def test_a_part_needs_admin(api: MiddlewareStage) -> None:
    clipper = await api.client("read", "clip")
    assert (await api.call("POST", PATH, token=clipper, data=b"x", headers=FORM))[0] == 403
    assert api.notion.parts == []


async def test_a_part_that_stands_still_ends(tmp_path: Path) -> None:
    async with running_api(tmp_path, limits=Limits(body_timeout_s=0.05)) as api:
        head = f"Authorization: Bearer {TOKEN}\r\nContent-Length: 50\r\n"
        told = f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1:{api.port}\r\n{head}"
        told += f"Content-Type: {FORM['Content-Type']}\r\n"
        assert (await raw_request(api.port, f"{told}\r\n--cut".encode()))[0] == 408
        waits = f"{told}Expect: 100-continue\r\n\r\n"
        assert (await raw_request(api.port, waits.encode()))[0] == 100


async def test_a_part_to_a_broker_that_is_away_is_refused_in_notions_words(
    api: MiddlewareStage,
) -> None:
    api.notion.reply = BrokerUnreachable("Cut.", sent=True)
    status, body, _ = await api.call("POST", PATH, data=b"x", headers=FORM)
    assert (status, body["code"]) == (504, "gateway_timeout")
