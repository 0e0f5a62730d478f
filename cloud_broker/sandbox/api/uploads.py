"""Implements file uploads: create, send, complete. Unattached uploads expire after an hour.

https://developers.notion.com/reference/file-upload; 20 MiB for a single part, names of up to
900 bytes.
"""

from __future__ import annotations

import mimetypes

from cloud_broker.sandbox.api.call import Answer, Call, Endpoint, listed
from cloud_broker.sandbox.errors import not_found, validation
from cloud_broker.sandbox.model import Change, Upload
from cloud_broker.sandbox.shapes.checks import (
    fail,
    get,
    only,
    want_one_of,
    want_string,
    want_url,
    want_whole,
)

TTL_S = 3600
MOST_NAME_BYTES = 900
MOST_PARTS = 10_000
MOST_PART_BYTES = 20 * 1024 * 1024
MODES = ("single_part", "multi_part", "external_url")


def create(call: Call) -> Answer:
    """POST /file_uploads: create an upload."""
    body = call.object()
    only(body, "body", {"mode", "filename", "content_type", "number_of_parts", "external_url"})
    mode = want_one_of(body.get("mode", "single_part"), "body.mode", MODES)
    name = body.get("filename")
    if name is not None or mode != "single_part":
        name = want_string(get(body, "filename"), "body.filename")
        if len(name.encode()) > MOST_NAME_BYTES:
            fail("body.filename", f"at most `{MOST_NAME_BYTES}` bytes", name)
    parts = 1
    if mode == "multi_part":
        parts = want_whole(get(body, "number_of_parts"), "body.number_of_parts", 1, MOST_PARTS)
    elif mode == "external_url":
        want_url(get(body, "external_url"), "body.external_url")
    name = name or "file"
    kind = body.get("content_type") or mimetypes.guess_type(name)[0] or "application/octet-stream"
    now = call.world.clock.now()
    upload = Upload(
        id=call.world.new_id(),
        workspace_id=call.token.workspace_id,
        created_by=call.token.bot_id,
        created_at=now,
        mode=mode,
        filename=name,
        content_type=want_string(kind, "body.content_type"),
        # The sandbox makes no external requests: an external file counts as imported.
        status="uploaded" if mode == "external_url" else "pending",
        expires_at=now + TTL_S,
        number_of_parts=parts,
    )
    call.world.uploads[upload.id] = upload
    _announce(call, upload, "file_upload.created")
    return Answer(call.render.upload(upload), resource=upload.id)


def retrieve(call: Call) -> Answer:
    """GET /file_uploads/{file_upload_id}."""
    return Answer(call.render.upload(_upload(call)))


def listing(call: Call) -> Answer:
    """GET /file_uploads: this connection's uploads, newest first."""
    mine = [up for up in call.world.uploads.values() if up.created_by == call.token.bot_id]
    status = call.query.get("status")
    shown = [call.render.upload(up) for up in reversed(mine)]
    found = [each for each in shown if status in (None, each["status"])]
    return Answer(listed("file_upload", found[:100]))


def send(call: Call) -> Answer:
    """POST /file_uploads/{file_upload_id}/send: receive one part of the file, as a form."""
    upload = _pending(call)
    if upload.mode == "external_url":
        raise validation("This file upload does not accept bytes: its mode is external_url.")
    data = call.form.get("file")
    if data is None:
        fail("body.file", "defined", get({}, "file"))
    if len(data) > MOST_PART_BYTES:
        raise validation(f"The part is larger than {MOST_PART_BYTES} bytes.")
    number = 1
    if upload.mode == "multi_part":
        said = call.form.get("part_number", b"").decode(errors="replace")
        number = int(said) if said.isdecimal() else 0
        if not 1 <= number <= upload.number_of_parts:
            fail("body.part_number", f"between `1` and `{upload.number_of_parts}`", said)
    upload.parts[number] = data
    if upload.mode == "single_part":
        _uploaded(call, upload)
    return Answer(call.render.upload(upload), resource=upload.id)


def complete(call: Call) -> Answer:
    """POST /file_uploads/{file_upload_id}/complete: finish an upload in parts."""
    upload = _pending(call)
    if upload.mode != "multi_part":
        raise validation("Only file uploads of mode multi_part are completed.")
    if len(upload.parts) != upload.number_of_parts:
        raise validation(
            f"Expected {upload.number_of_parts} parts, but {len(upload.parts)} were sent."
        )
    _uploaded(call, upload)
    return Answer(call.render.upload(upload), resource=upload.id)


def _upload(call: Call) -> Upload:
    upload_id = call.id("file_upload_id")
    upload = call.world.uploads.get(upload_id)
    if upload is None or upload.workspace_id != call.token.workspace_id:
        raise not_found(upload_id, call.integration, "file upload")
    return upload


def _pending(call: Call) -> Upload:
    upload = _upload(call)
    if upload.expires_at <= call.world.clock.now():
        raise validation(f"File upload {upload.id} has status `expired`.")
    if upload.status != "pending":
        raise validation(
            f"File upload {upload.id} has status `{upload.status}`, must be `pending`."
        )
    return upload


def _uploaded(call: Call, upload: Upload) -> None:
    upload.status = "uploaded"
    _announce(call, upload, "file_upload.completed")


def _announce(call: Call, upload: Upload, kind: str) -> None:
    now = call.world.clock.now()
    call.world.announce(
        Change(kind, upload.id, "file_upload", upload.workspace_id, upload.created_by, now)
    )


ENDPOINTS = (
    Endpoint("POST", "file_uploads", create, "insert"),
    Endpoint("GET", "file_uploads", listing),
    Endpoint("GET", "file_uploads/{file_upload_id}", retrieve),
    Endpoint("POST", "file_uploads/{file_upload_id}/send", send, "insert", form=True),
    Endpoint("POST", "file_uploads/{file_upload_id}/complete", complete, "insert"),
)
