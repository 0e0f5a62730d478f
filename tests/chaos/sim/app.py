"""The app that clips: it posts until it gets an answer, and sometimes changes its mind."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import msgspec

from clipperd.clips.submit import ClipBody
from clipperd.daemon.assembly import Daemon as Parts
from clipperd.errors import (
    BrokerUnreachable,
    NotAllowedNow,
    NotSignedIn,
    ReauthRequired,
    StorageFull,
    VersionMismatch,
)
from clipperd.notion.port import Call
from clipperd.outbox import actions
from clipperd.outbox.records import ClipView
from tests.chaos.script import Planned, Script
from tests.chaos.sim.daemon import Daemon, Down
from tests.chaos.sim.reckoning import NewPage
from tests.chaos.sim.trace import Trace
from tests.chaos.sim.weather import Weather
from tests.chaos.verdict import Sent
from tests.stack.notion import Page

_AGAIN_S = 1.0
_REFUSED = (NotAllowedNow, VersionMismatch, BrokerUnreachable, NotSignedIn, ReauthRequired)


@dataclass
class Clip:
    """One that was accepted; ``contents`` are the forms that it had."""

    id: str
    contents: list[Planned] = field(default_factory=list)


class App:
    """The client of one daemon."""

    def __init__(
        self,
        daemon: Daemon,
        pages: list[Page],
        rng: random.Random,
        weather: Weather,
        trace: Trace,
        first: int,
    ) -> None:
        """``first``: the number of its first clip."""
        self.clips: list[Clip] = []
        self.new_pages: list[NewPage] = []
        self.other: App | None = None
        self._daemon = daemon
        self._pages = pages
        self._rng = rng
        self._weather = weather
        self._trace = trace
        self._script = Script(random.Random(rng.random()), pages, long=0.015)
        self._first = first
        self._moods: list[asyncio.Task[None]] = []

    async def post(self, count: int) -> None:
        """Post so many clips, each until it is accepted."""
        loop = asyncio.get_running_loop()
        for number in range(self._first, self._first + count):
            draw = self._rng.random()
            if draw < 0.03:
                await self._create(number)
            elif draw < 0.08 and self.new_pages:
                await self._follow(number)
            else:
                planned = self._echo(number) or self._script.clip(number)
                clip = Clip(await self._accept(planned), [planned])
                self.clips.append(clip)
                mood = self._rng.random()
                if mood < 0.08:
                    self._moods.append(loop.create_task(self._change_mind(clip, mood)))
            if self._rng.random() < 0.6:  # else the next one comes in the same moment
                await asyncio.sleep(self._weather.calm(self._rng, self._weather.pace_s))
        await asyncio.gather(*self._moods)

    def _echo(self, number: int) -> Planned | None:
        """Now and then just what the other app has clipped last, to the same place."""
        if self.other is None or not self.other.clips or self._rng.random() > 0.2:
            return None
        last = self.other.clips[-1].contents[0]
        if last.content["format"] != "text":
            return None
        return Planned(number, last.pieces, last.texts, last.content)

    async def sent(self) -> list[Sent]:
        """What must stand on the pages now, by the daemon's own word of what was withdrawn."""
        found: list[Sent] = []
        for clip in self.clips:
            view, content = await self._daemon.call(partial(_read, clip.id))
            planned = next(form for form in clip.contents if form.content == content)
            for piece, delivery in zip(planned.pieces, view.deliveries, strict=True):
                undone = delivery.undo is not None
                stopped = delivery.state == "canceled" and delivery.chunks_done > 0
                if delivery.state == "canceled" and (undone or not stopped):
                    continue
                item = Sent(planned.number, piece, planned.texts, planned.content, delivery.state)
                if undone or stopped:  # as far as people allowed, or as it came
                    item.state = "needs_attention"
                found.append(item)
        return found

    @property
    def accepted(self) -> int:
        """How many clips were acknowledged."""
        return len(self.clips) + sum(1 + len(page.followers) for page in self.new_pages)

    async def views_of_new(self) -> dict[str, ClipView]:
        """The clips that were to create pages or to follow into them."""
        ids = [page.clip_id for page in self.new_pages]
        ids += [clip_id for page in self.new_pages for _, clip_id in page.followers]
        return {each: (await self._daemon.call(partial(_read, each)))[0] for each in ids}

    async def states(self) -> dict[str, int]:
        """How many deliveries are in each state."""
        status = await self._daemon.call(lambda p: p.clips.status())
        return {name: n for name, n in status.items() if isinstance(n, int) and n}

    async def _create(self, number: int) -> None:
        """A clip that creates a page, now and then under a name that is there already."""
        parent, ref = self._rng.choice(self._pages), f"ref-{number}"
        title = f"new {number if self._rng.random() < 0.8 else number // 40}"
        count = self._rng.choice((0, 1, 1, 3, 130))
        texts = tuple(f"c{number}.{n}" for n in range(count))
        wanted = {"ref": ref, "parent": {"page_id": parent.id}, "title": title}
        blocks = [_paragraph(text) for text in texts]
        content = {"format": "blocks", "blocks": blocks} if texts else None
        clip_id = await self._post(number, [{"new_page": wanted}], content)
        self.new_pages.append(NewPage(ref, title, texts, clip_id))

    async def _follow(self, number: int) -> None:
        """A clip into a page that may not exist yet."""
        page = self._rng.choice(self.new_pages)
        text = (
            page.followers[-1][0] if page.followers and self._rng.random() < 0.2 else f"c{number}"
        )
        content = {"format": "text", "text": text}
        page.followers.append((text, await self._post(number, [{"page_ref": page.ref}], content)))

    async def _accept(self, planned: Planned) -> str:
        targets = [self._script.target(piece) for piece in planned.pieces]
        return await self._post(planned.number, targets, planned.content)

    async def _post(
        self, number: int, targets: Sequence[Mapping[str, Any]], content: Mapping[str, Any] | None
    ) -> str:
        """Post until it is answered; the clip's id."""
        priority = self._rng.choice(("high", "normal", "normal", "low"))
        raw = {"targets": list(targets), "content": content, "priority": priority}
        body = msgspec.convert(raw, ClipBody)

        async def post(parts: Parts) -> str:
            view, _ = await parts.submission.accept(
                body, header_workspace=None, client_id="owner", key=f"app-{number}"
            )
            return view.id

        while True:
            try:
                clip_id = await self._daemon.call(post)
            except (Down, StorageFull):
                await asyncio.sleep(_AGAIN_S * (0.5 + self._rng.random()))
                continue
            self._trace.note(self._daemon.name, f"accepted c{number} {targets}")
            return clip_id

    async def _change_mind(self, clip: Clip, draw: float) -> None:
        """Withdraw it, edit it, take it back, or write something of one's own beside it."""
        await asyncio.sleep(self._rng.choice((0.0, 0.5, 5.0, 60.0, 600.0)) * self._rng.random())
        if draw < 0.02:
            await self._try("cancels", clip, lambda p: p.clips.act(clip.id, None, actions.cancel))
        elif draw < 0.04:
            await self._edit(clip)
        elif draw < 0.055:
            undo = actions.request_undo
            await self._try("undoes", clip, lambda p: p.clips.act(clip.id, None, undo))
        else:
            await self._pass_through(clip)

    async def _edit(self, clip: Clip) -> None:
        before = clip.contents[0]
        text = f"e{before.number}"
        content = {"format": "text", "text": text}
        clip.contents.append(Planned(before.number, before.pieces, (text,), content))

        async def edit(parts: Parts) -> ClipView:
            version = (await parts.clips.get(clip.id)).version
            return await parts.submission.edit(
                clip.id, version=version, content=content, priority=None, not_before=None
            )

        await self._try("edits", clip, edit)

    async def _pass_through(self, clip: Clip) -> None:
        """An append that is no clip, with the same text as often as not."""
        before = clip.contents[0]
        text = before.texts[0] if self._rng.random() < 0.5 else f"passed {before.number}"
        page = self._rng.choice(self._pages)
        body = msgspec.json.encode({"children": [_paragraph(text)]})
        path = f"blocks/{page.id}/children"

        async def send(parts: Parts) -> Any:
            scope = await parts.session.accounts.scope(None)
            return await parts.passthrough.send(scope, Call("PATCH", path, {}, body))

        await self._try("passes through for", clip, send, "+")

    async def _try(
        self,
        what: str,
        clip: Clip,
        act: Callable[[Parts], Coroutine[Any, Any, Any]],
        suffix: str = "",
    ) -> None:
        number = clip.contents[0].number
        try:
            await self._daemon.call(act, suffix)
        except (*_REFUSED, Down, StorageFull) as error:
            self._trace.note("app", f"{what} c{number}: {type(error).__name__}")
        else:
            self._trace.note("app", f"{what} c{number}: done")


def _paragraph(text: str) -> dict[str, Any]:
    return {"type": "paragraph", "paragraph": {"rich_text": [{"text": {"content": text}}]}}


async def _read(clip_id: str, parts: Parts) -> tuple[ClipView, Any]:
    return await parts.clips.get(clip_id), await parts.clips.content(clip_id)
