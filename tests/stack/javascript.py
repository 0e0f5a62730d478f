"""Runs Notion's published SDK for JavaScript on the machine's Node."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import os
import shutil
import tarfile
from collections.abc import Sequence
from pathlib import Path

SOURCE = Path(__file__).parent.parent / "js"
WITHIN_S = 50.0  # the machine may be busy with the rest of the suite


def install(folder: Path) -> None:
    """Put walk.js and the SDK into ``folder``, as ``npm ci`` would; its bytes are checked."""
    lock = json.loads((SOURCE / "package-lock.json").read_text())
    package = lock["packages"]["node_modules/@notionhq/client"]
    archive = (SOURCE / package["resolved"].removeprefix("file:")).read_bytes()
    digest = base64.b64encode(hashlib.sha512(archive).digest()).decode()
    assert package["integrity"] == f"sha512-{digest}", "the SDK is not the one that was pinned"
    folder.mkdir(exist_ok=True)
    unpacked = folder / "unpacked"
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(unpacked, filter="data")
    (folder / "node_modules/@notionhq").mkdir(parents=True)
    (unpacked / "package").rename(folder / "node_modules/@notionhq/client")
    for name in ("package.json", "walk.js"):
        shutil.copy(SOURCE / name, folder / name)


async def walk(
    node: str, folder: Path, steps: Sequence[str], *, url: str, token: str, sandbox: str
) -> list[str]:
    """Take the steps of walk.js; return those that it says are done."""
    install(folder)
    env = os.environ | {"NOTION_URL": url, "NOTION_TOKEN": token, "SANDBOX_URL": sandbox}
    child = await asyncio.create_subprocess_exec(
        node,
        "walk.js",
        *steps,
        cwd=folder,
        env=env,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(WITHIN_S):
            said, _ = await child.communicate()
    except TimeoutError:
        child.kill()
        said, _ = await child.communicate()
    assert child.returncode == 0, said.decode()
    done: list[str] = json.loads(said.splitlines()[-1])["done"]
    return done
