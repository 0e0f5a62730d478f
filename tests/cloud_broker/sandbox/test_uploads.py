"""File uploads: one part, several parts, attaching, expiry."""

from __future__ import annotations

from typing import Any

from aiohttp import FormData

from cloud_broker.sandbox import seed
from tests.cloud_broker.sandbox.sandbox_stage import MISSING, SandboxStage

PAGE = seed.EMPTY_PAGE
CHILDREN = f"blocks/{PAGE}/children"


async def send(stage: SandboxStage, upload: Any, data: bytes, part: int | None = None) -> Any:
    form = FormData()
    form.add_field("file", data, filename="cat.png", content_type="image/png")
    if part is not None:
        form.add_field("part_number", str(part))
    headers = {"Authorization": f"Bearer {stage.token}", "Notion-Version": stage.version}
    path = f"/v1/file_uploads/{upload['id']}/send"
    response = await stage.client.post(path, data=form, headers=headers)
    return await response.json()


async def create(stage: SandboxStage, **body: Any) -> Any:
    return await stage.ask("POST", "file_uploads", {"filename": "cat.png", **body})


def image(upload: Any) -> dict[str, Any]:
    return {"image": {"type": "file_upload", "file_upload": {"id": upload["id"]}}}


async def test_one_part_is_sent_attached_and_served_from_an_address_that_ends(
    stage: SandboxStage,
) -> None:
    upload = await create(stage)
    assert upload["status"] == "pending"
    assert upload["content_type"] == "image/png"
    assert upload["expiry_time"] == "2026-10-06T10:32:37.500Z"
    assert (await send(stage, upload, b"png"))["status"] == "uploaded"
    (block,) = await stage.append(PAGE, image(upload))
    assert block["image"]["type"] == "file"
    url = block["image"]["file"]["url"]
    path = url[url.index("/_sandbox") :]
    assert await (await stage.client.get(path)).read() == b"png"
    stage.clock.advance(3601)
    assert (await stage.client.get(path)).status == 403
    (block,) = (await stage.listing(PAGE))["results"]
    assert (
        await stage.client.get(block["image"]["file"]["url"][len(url) - len(path) :])
    ).status == 200


async def test_several_parts_are_joined_when_complete(stage: SandboxStage) -> None:
    upload = await create(stage, mode="multi_part", number_of_parts=2)
    await send(stage, upload, b"b", 2)
    path = f"file_uploads/{upload['id']}"
    assert (await stage.refused("POST", f"{path}/complete", {}))[0] == 400
    got = await send(stage, upload, b"a", 1)
    assert got["number_of_parts"] == {"total": 2, "sent": 2}
    assert (await stage.ask("POST", f"{path}/complete", {}))["status"] == "uploaded"
    assert stage.world.uploads[upload["id"]].data() == b"ab"
    assert (await send(stage, upload, b"c", 3))["code"] == "validation_error"


async def test_only_what_was_uploaded_can_be_attached(stage: SandboxStage) -> None:
    pending = await create(stage)
    assert (await stage.refused("PATCH", CHILDREN, {"children": [image(pending)]}))[0] == 400
    absent = {"id": MISSING}
    assert (await stage.refused("PATCH", CHILDREN, {"children": [image(absent)]}))[0] == 404


async def test_what_is_not_attached_in_an_hour_expires(stage: SandboxStage) -> None:
    upload = await create(stage)
    await send(stage, upload, b"png")
    kept = await create(stage)
    stage.clock.advance(3600)
    assert (await stage.ask("GET", f"file_uploads/{kept['id']}"))["status"] == "expired"
    assert (await send(stage, kept, b"png"))["code"] == "validation_error"
    assert (await stage.refused("PATCH", CHILDREN, {"children": [image(upload)]}))[0] == 400


async def test_a_long_name_or_a_part_that_is_no_form_is_refused(stage: SandboxStage) -> None:
    assert (await stage.refused("POST", "file_uploads", {"filename": "x" * 901}))[0] == 400
    upload = await create(stage)
    assert (await stage.refused("POST", f"file_uploads/{upload['id']}/send", {}))[0] == 400


async def test_an_upload_may_become_a_page_s_icon(stage: SandboxStage) -> None:
    upload = await create(stage)
    await send(stage, upload, b"png")
    icon = {"type": "file_upload", "file_upload": {"id": upload["id"]}}
    page = await stage.ask("PATCH", f"pages/{PAGE}", {"icon": icon})
    assert page["icon"]["type"] == "file"
    assert (await stage.ask("GET", f"file_uploads/{upload['id']}"))["expiry_time"] is None
