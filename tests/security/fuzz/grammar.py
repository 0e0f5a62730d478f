"""Makes the requests: each depends on seed and number alone, so that you can repeat any of them."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any
from uuid import UUID

from cloud_broker.proxy.routes import ROUTES, Route
from tests.security.fuzz import words

PROXY = "/api/notion/proxy/"
FORM = b"multipart/form-data; boundary=frontier"
Header = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Case:
    """One request. ``{token}``, ``{workspace}``, ``{key}``, ``{host}`` are filled in at sending.

    ``content`` is what the body means, ``sent`` what goes over the wire after the head. ``odd``:
    two parsers may differ about where it ends, so it gets a connection of its own; ``cut``: the
    body is not sent to its end.
    """

    seed: int
    number: int
    method: bytes
    target: bytes
    head: bytes
    content: bytes
    sent: bytes
    headers: tuple[Header, ...]
    odd: bool
    cut: bool

    def replay(self) -> str:
        """The command that sends it again, and what is sent."""
        shown = self.head + self.sent
        more = f" and {len(shown) - 1500} more bytes" if len(shown) > 1500 else ""
        command = f"python -m tests.security.fuzz --seed {self.seed} --only {self.number}"
        return f"{command}\n    {shown[:1500]!r}{more}"


@dataclass
class Draft:
    """A request while it is being spoiled."""

    rng: Random
    id: str
    method: bytes = b"GET"
    path: bytes = b""
    query: list[bytes] = field(default_factory=list)
    headers: list[Header] = field(default_factory=list)
    content: bytes = b""
    form: bool = False
    version: bytes = b"HTTP/1.1"
    frame: tuple[bytes, ...] = ()
    origin: bytes = b""
    odd: bool = False
    cut: bool = False

    def one_in(self, number: int) -> bool:
        return self.rng.randrange(number) == 0

    @property
    def is_in_chunks(self) -> bool:
        return any(line.startswith(b"Transfer-Encoding") for line in self.frame)

    def of(self, text: bytes) -> bytes:
        """``text`` with this case's id in place."""
        return text.replace(b"{id}", self.id.encode())


def case(seed: int, number: int, doors: Sequence[tuple[str, str]]) -> Case:
    """Make one. ``doors`` are method and path of the routes besides the proxy's."""
    rng = Random(f"{seed}:{number}")
    draft = Draft(rng, str(UUID(int=(number << 96) | rng.getrandbits(96))))
    kind = rng.random()
    if kind < 0.74:
        _row(draft, rng.choice(ROUTES))
    elif kind < 0.88:
        path = rng.choice(words.PATHS_OF_NOTION).replace("{id}", draft.id)
        draft.path = PROXY.encode() + rng.choice(("", "v1/")).encode() + path.encode()
        draft.method = rng.choice((b"GET", b"POST", b"PATCH", b"DELETE"))
    else:
        method, path = rng.choice(doors)
        draft.method = method.encode()
        draft.path = _filled(draft, path).encode()
        draft.content = b"{}" if method == "POST" else b""
    _sign(draft, may_be_good=kind < 0.88)
    for _ in range(rng.choice((0, 0, 0, 1, 1, 1, 1, 2, 2, 3, 5))):
        rng.choices(SPOIL, WEIGHTS)[0](draft)
    return _finish(draft, seed, number)


def _filled(draft: Draft, pattern: str) -> str:
    while "{" in pattern:
        head, _, rest = pattern.partition("{")
        value = draft.id if draft.one_in(2) else _odd_id(draft)
        pattern = head + value.replace("{", "%7B") + rest.partition("}")[2]
    return pattern


def _row(draft: Draft, route: Route) -> None:
    """A request that the table allows."""
    draft.method = route.method.encode()
    path = "/".join(draft.id if word.startswith(":") else word for word in route.words)
    draft.path = (PROXY + draft.rng.choice(("", "v1/")) + path).encode()
    if draft.one_in(4):
        plain = draft.id.replace("-", "")
        other = draft.rng.choice((draft.id.upper(), plain, plain.upper(), plain[:8] + draft.id[8:]))
        draft.path = draft.path.replace(draft.id.encode(), other.encode())
    if route.streams:
        draft.form = True
        draft.content = b'--frontier\r\nContent-Disposition: form-data; name="file"\r\n\r\n'
        draft.content += draft.rng.randbytes(40) + b"\r\n--frontier--\r\n"
    elif route.body is not None:
        draft.content = json.dumps(_body(draft, route)).encode()
    if route.query and draft.one_in(3):
        good = {"page_size": b"page_size=5", "start_cursor": b"start_cursor={id}"}
        draft.query += [good.get(key, b"filter_properties=a") for key in sorted(route.query)]


def _body(draft: Draft, route: Route) -> dict[str, Any]:
    text = [{"text": {"content": f"words of {draft.id}"}}]
    block = {"type": "paragraph", "paragraph": {"rich_text": text}}
    match route.name:
        case "pages.create":
            return {"parent": {"page_id": draft.id}, "properties": {"title": text}}
        case "blocks.children.append":
            where = {"type": "after_block", "after_block": {"id": draft.id}}
            more: dict[str, Any] = draft.rng.choice(({}, {"after": draft.id}, {"position": where}))
            return {"children": [block] * draft.rng.randint(1, 3), **more}
        case "blocks.update" | "pages.update":
            return {draft.rng.choice(("in_trash", "archived")): draft.rng.choice((True, False))}
        case "search":
            return {"query": "words", "page_size": draft.rng.choice((5, 1000))}
        case "file_uploads.create":
            return {"mode": "single_part", "filename": "a.png"}
        case "databases.query" | "data_sources.query":
            return {"page_size": draft.rng.choice((5, 1000)), "filter": {"and": []}}
        case _:
            return {}


def _odd_id(draft: Draft) -> str:
    return draft.rng.choice(words.IDS).replace("{id}", draft.id)


def _sign(draft: Draft, *, may_be_good: bool) -> None:
    good = (b"Bearer {token}",) * 30 + (b"bearer {token}", b"BEARER  {token} ")
    wrong = (b"Bearer {token}x", b"Bearer x.y.z", b"Basic {token}", b"Bearer", b"{token}")
    value = draft.rng.choice((*good, *wrong) if may_be_good else wrong)
    if may_be_good or draft.one_in(2):
        draft.headers.append((b"Authorization", value))
    if may_be_good and draft.one_in(3):
        draft.headers.append((b"X-Workspace-Id", b"{workspace}"))
        if draft.one_in(2):
            draft.headers.append((b"Idempotency-Key", b"{key}"))


# --- spoiling --------------------------------------------------------------------------------


def _method(draft: Draft) -> None:
    draft.method = draft.rng.choice(words.METHODS)
    draft.odd = draft.odd or not draft.method.isalpha() or draft.method in (b"PRI", b"X" * 40)


def _piece(draft: Draft) -> None:
    """A piece in place of a slash, or anywhere."""
    piece = draft.of(draft.rng.choice(words.INTO_PATHS))
    slashes = [at for at, byte in enumerate(draft.path) if byte == ord("/")]
    if slashes and draft.one_in(2):
        at = draft.rng.choice(slashes[-4:])
        draft.path = draft.path[:at] + piece + draft.path[at + 1 :]
    else:
        at = draft.rng.randrange(len(draft.path) // 2, len(draft.path) + 1)
        draft.path = draft.path[:at] + piece + draft.path[at:]


def _encode(draft: Draft) -> None:
    """Letters as percent-escapes, once or twice, or in the other case."""
    at = draft.rng.randrange(len(draft.path) + 1)
    letter = draft.path[at : at + 1] or b"a"
    form = draft.rng.choice((b"%%%02x", b"%%%02X", b"%%25%02x"))
    changed = letter.swapcase() if draft.one_in(3) else form % letter[0]
    draft.path = draft.path[:at] + changed + draft.path[at + 1 :]


def _id(draft: Draft) -> None:
    draft.path = draft.path.replace(draft.id.encode(), _odd_id(draft).encode(), 1)


def _word(draft: Draft) -> None:
    """Another word of Notion's, one more, or one fewer."""
    parts = draft.path.split(b"/")
    at = draft.rng.randrange(4, len(parts)) if len(parts) > 4 else len(parts) - 1
    other = draft.rng.choice([w for route in ROUTES for w in route.words] + ["users", "comments"])
    change = draft.rng.randrange(3)
    parts[at : at + (change != 1)] = [] if change == 2 else [draft.of(other.encode())]
    draft.path = b"/".join(parts)


def _origin(draft: Draft) -> None:
    """The absolute form, a network path, or another form of target."""
    hosts = (b"http://{host}", b"http://evil.example", b"https://api.notion.com", b"//evil.example")
    more = (b"http://a@{host}", b"ftp://evil.example", b"http://", b"javascript:", b"/", b"\\\\x")
    draft.origin = draft.rng.choice(hosts + more)
    draft.odd = draft.odd or draft.origin in more


def _break(draft: Draft) -> None:
    at = 1 + draft.rng.randrange(max(1, len(draft.path) - 1))  # around it a space says nothing
    draft.path = draft.path[:at] + draft.rng.choice(words.BREAKING) + draft.path[at:]
    draft.odd = True


def _query(draft: Draft) -> None:
    draft.query.append(draft.of(draft.rng.choice(words.QUERIES)))


def _header(draft: Draft) -> None:
    name, value = draft.rng.choice(words.HEADERS)
    header = (name, draft.of(value))
    if draft.one_in(4):
        header = (draft.rng.choice((name.lower(), name.upper())), header[1])
    draft.headers.insert(draft.rng.randrange(len(draft.headers) + 1), header)
    draft.odd = draft.odd or name in (b"Host", b"Expect")


def _double(draft: Draft) -> None:
    """A header once more, as it is or with another value."""
    if draft.headers:
        name, value = draft.rng.choice(draft.headers)
        draft.headers.append((name, value if draft.one_in(2) else draft.of(b"{id}")))


def _many(draft: Draft) -> None:
    draft.headers += [(b"X-%d" % n, b"y" * draft.rng.choice((1, 300))) for n in range(150)]


def _upgrade(draft: Draft) -> None:
    draft.headers += [draft.rng.choice(words.UPGRADES), (b"Connection", b"Upgrade")]
    draft.odd = True


def _version(draft: Draft) -> None:
    odd = (b"HTTP/1.0", b"HTTP/1.0", b"HTTP/0.9", b"HTTP/2.0", b"HTTP/1.2", b"http/1.1", b"", b"X")
    draft.version = draft.rng.choice(odd)
    draft.odd = True


def _frame(draft: Draft) -> None:
    draft.frame = draft.rng.choice(words.FRAMES)
    draft.odd = True


def _cut(draft: Draft) -> None:
    draft.odd = draft.cut = True


def _body_whole(draft: Draft) -> None:
    draft.content = draft.of(draft.rng.choice(words.BODIES))


def _body_large(draft: Draft) -> None:
    size = draft.rng.choice((511_000, 513_000, 700_000))
    draft.content = b'{"query":"' + b"x" * size + b'"}'


def _body_place(draft: Draft) -> None:
    """Another value at one of the body's places; written as text, so it may be no JSON."""
    value = draft.of(draft.rng.choice(words.VALUES))
    keys = draft.rng.sample(words.KEYS, 2)
    start = draft.content.find(b":")
    match draft.rng.randrange(4):
        case 0 if start > 0:
            draft.content = draft.content[: start + 1] + value + b"," + b'"x":1}'
        case 1 if start > 0:  # the first key once more
            again = draft.content[1:start] + b":" + value
            draft.content = draft.content[:-1] + b"," + again + b"}"
        case 2 if start > 0:
            draft.content = b'{"' + keys[0] + b'":' + value + b"," + draft.content[1:]
        case _:
            draft.content = b'{"' + keys[0] + b'":' + value + b',"' + keys[1] + b'":' + value + b"}"


def _body_swapped(draft: Draft) -> None:
    """A body of another row; a form where JSON belongs, JSON where a form belongs."""
    route = draft.rng.choice(ROUTES)
    draft.content = json.dumps(_body(draft, route)).encode()
    draft.form = not draft.form if draft.one_in(3) else draft.form


Spoiler = Callable[[Draft], None]
_WEIGHED: tuple[tuple[Spoiler, int], ...] = (
    *((_method, 5), (_piece, 10), (_encode, 6), (_id, 7), (_word, 6), (_origin, 3), (_break, 2)),
    *((_query, 12), (_header, 16), (_double, 5), (_many, 1), (_upgrade, 2), (_version, 2)),
    *((_frame, 4), (_cut, 1), (_body_whole, 4), (_body_large, 1), (_body_place, 10)),
    *((_body_swapped, 4),),
)
SPOIL = [spoil for spoil, _ in _WEIGHED]
WEIGHTS = [weight for _, weight in _WEIGHED]


# --- onto the wire ---------------------------------------------------------------------------


def _finish(draft: Draft, seed: int, number: int) -> Case:
    if draft.frame:
        draft.content = draft.content.ljust(4)[: None if draft.is_in_chunks else 4]
    frame, sent = _framed(draft)
    target = draft.origin + draft.path
    if draft.query:
        target += b"?" + b"&".join(map(draft.of, draft.query))
    headers = [(b"Host", b"{host}"), *draft.headers]
    if any(name.lower() == b"host" for name, _ in draft.headers) and draft.one_in(2):
        headers = draft.headers
    if draft.content and not any(name.lower() == b"content-type" for name, _ in headers):
        headers.append((b"Content-Type", FORM if draft.form else b"application/json"))
    line = b" ".join(part for part in (draft.method, target, draft.version) if part)
    lines = [line, *(b"%s: %s" % header for header in headers), *frame]
    head = b"\r\n".join(lines) + b"\r\n\r\n"
    if draft.cut and len(sent) > 1 and not draft.one_in(3):
        sent = sent[: len(sent) // 2]
    elif draft.cut:
        head, sent = head[: -draft.rng.randrange(2, len(head) // 2)], b""
    return Case(
        seed,
        number,
        draft.method,
        target,
        head,
        draft.content,
        sent,
        tuple(headers),
        draft.odd or len(head) > 8000,
        draft.cut,
    )


def _framed(draft: Draft) -> tuple[tuple[bytes, ...], bytes]:
    """The lines that say how long the body is, and the body as it goes over the wire."""
    content, rng = draft.content, draft.rng
    if draft.frame:
        return draft.frame, _chunked(content, rng) if draft.is_in_chunks else content
    lines: tuple[bytes, ...] = ()
    if content and rng.random() < 0.06:
        coding, content = rng.choice(
            (
                (b"gzip", gzip.compress(content, mtime=0)),
                (b"deflate", zlib.compress(content)),
                (b"gzip", content),
                (b"br", b"\x8b\x01\x80{}\x03"),
            )
        )
        lines = (b"Content-Encoding: " + coding,)
    if content and rng.random() < 0.15:
        return (*lines, b"Transfer-Encoding: chunked"), _chunked(content, rng)
    if content or draft.method in (b"POST", b"PATCH", b"PUT") or rng.random() < 0.1:
        lines = (*lines, b"Content-Length: %d" % len(content))
    return lines, content


def _chunked(content: bytes, rng: Random) -> bytes:
    cut = rng.randrange(len(content) + 1)
    extension = rng.choice((b"", b"", b"", b";a=b", b' ; a="b"', b";" + b"x" * 300))
    pieces = [piece for piece in (content[:cut], content[cut:]) if piece]
    body = b"".join(b"%x%s\r\n%s\r\n" % (len(piece), extension, piece) for piece in pieces)
    trailer = rng.choice((b"", b"", b"", b"Authorization: Bearer x\r\n", b"X-Workspace-Id: x\r\n"))
    return body + b"0\r\n" + trailer + b"\r\n"
