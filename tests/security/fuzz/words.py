"""Pieces of targets, headers and bodies that spoil the generated requests."""

from __future__ import annotations

METHODS: tuple[bytes, ...] = (
    *(b"GET", b"POST", b"PATCH", b"DELETE", b"PUT", b"HEAD", b"OPTIONS", b"TRACE", b"QUERY"),
    *(b"get", b"Patch", b"PROPFIND", b"MOVE", b"X" * 40, b"PRI", b"GET_", b"P4TCH"),
)
PATHS_OF_NOTION: tuple[str, ...] = (
    *("users", "users/{id}", "comments", "comments?block_id={id}", "oauth/token", "oauth/revoke"),
    *("oauth/introspect", "pages/{id}/markdown", "pages/{id}/move", "pages/{id}/properties/title"),
    *("databases", "data_sources", "views", "webhooks", "file_uploads?page_size=1", "blocks"),
    *("search/", "Search", "v1/v1/search", "v2/search", "", "v1", "v1/", "users/me/", "users/ME"),
    *("users/me.json", "users/me;a=b", "me", "file_uploads/{id}/send/x", "blocks/children"),
    *("blocks/{id}/children/{id}", "databases/query", "pages/{id}/query", "custom_emojis"),
)
INTO_PATHS: tuple[bytes, ...] = (
    *(b"%2f", b"%2F", b"%252f", b"\\", b"%5c", b"//", b"/./", b"/../", b"/%2e%2e/", b"/%2E./"),
    *(b"/..;/", b"/..%2f", b"..", b"%00", b"%0a", b"%0d%0aX-Evil:%201", b"%20", b"+", b";a=b"),
    *(b"%3f", b"%3Fpage_size=1", b"%23", b"#", b"#/../users", b"?", b"%", b"%zz", b"%u002f"),
    *(b"%c0%af", b"%ff", b"%ef%bc%8f", b"\xef\xbc\x8f", b"\xff", b"%e2%80%8b", b"@", b":", b"*"),
    *(b"|", b"^", b"{", b"}", b"<", b'"', b"'", b"`", b"~", b"$", b"&", b"=", b",", b"..." * 9),
)
"""Set into a path in place of a slash or anywhere."""

BREAKING: tuple[bytes, ...] = (b"\0", b" ", b"\t", b"\r", b"\r\nX-Evil: 1", b"\x7f", b"\x0b")
"""Set into a request line, these are no HTTP at all."""

QUERIES: tuple[bytes, ...] = (
    *(b"page_size=5", b"page_size=1000", b"page_size=0", b"page_size=-1", b"page_size=1e2"),
    *("page_size=٣".encode(), "page_size=１".encode(), b"page_size=%EF%BC%91", b"page_size=99" * 9),
    *(b"page_size=", b"page_size", b"page_size=5&page_size=6", b"page_size[]=5", b"Page_Size=5"),
    *(b"%70age_size=5", b"page_size=%35", b"page_size=5;x=1", b"page_size=+5", b"page_size=5%00"),
    *(b"start_cursor={id}", b"start_cursor=a%26page_size%3D9", b"start_cursor=%0d%0aX:%201"),
    *(b"start_cursor=a#b", b"start_cursor=..%2f..", b"start_cursor=%ff", b"start_cursor=%", b"="),
    *(b"start_cursor=" + b"c" * 513, b"start_cursor=a+b", b"start_cursor=http://evil.example/"),
    *(b"filter_properties=title", b"filter_properties=a&filter_properties=b", b"&&&", b"?", b"%"),
    *(b"filter_properties=" + b"&filter_properties=".join([b"a"] * 101), b"x" * 5000, b"a=b" * 99),
    *(b"workspace={id}", b"token=x", b"access_token=x", b"_method=DELETE", b"method=DELETE"),
    *(b"Notion-Version=2021-05-13", b"url=http://evil.example/", b"__proto__=1", b"a%00=1"),
)

IDS: tuple[str, ...] = (
    *("not-an-id", "me", "..", "%2e%2e", "0" * 31, "0" * 33, "g" * 32, "f" * 9000, "1" * 300),
    *("١" * 32, "１" * 32, "%EF%BC%91" * 32, "{{id}}", "urn:uuid:{id}", "{id}%00", "{id}%0a"),
    *("{id}%20", "%20{id}", "{id}/", "{id}.", "{id}-", "-{id}", "{id}%2f{id}", "{id},{id}"),
    *("{id}%3Fx", "{id}#x", "{id};x", "{id}..%2f..%2fusers", "{id}%2fchildren", "{id}\\children"),
    *("%7Bid%7D", "null", "undefined", "*", "0", "-1", "{id}@evil.example", "%31{id}", "ﬀ" * 16),
)

HEADERS: tuple[tuple[bytes, bytes], ...] = (
    *(
        (b"X-Forwarded-For", value)
        for value in (b"10.0.0.1", b"::1, 127.0.0.1", b"\xff", b"a" * 99)
    ),
    *((b"X-Forwarded-Host", value) for value in (b"evil.example", b"api.notion.com", b"a\xffb")),
    *((b"X-Forwarded-Uri", b"/v1/users"), (b"X-Forwarded-Path", b"/api/notion/proxy/v1/users")),
    *((b"X_Forwarded_Host", b"evil.example"), (b"X-Forwarded-Method", b"DELETE")),
    *(
        (b"X-Forwarded-Proto", b"javascript"),
        (b"X-Forwarded-Prefix", b"/../.."),
        (b"Via", b"1.1 x"),
    ),
    *((b"Forwarded", b"for=127.0.0.1;host=evil.example"), (b"X-Original-URL", b"/v1/users")),
    *((b"X-Rewrite-URL", b"/v1/oauth/token"), (b"X-Original-Method", b"DELETE")),
    *((b"X-HTTP-Method-Override", value) for value in (b"DELETE", b"PUT", b"patch", b"")),
    *(
        (b"X-HTTP-Method", b"DELETE"),
        (b"X-Method-Override", b"DELETE"),
        (b"X-Host", b"evil.example"),
    ),
    *((b"Notion-Version", value) for value in (b"2026-03-11", b"2025-09-03", b"2022-06-28")),
    *((b"Notion-Version", value) for value in (b"2026-03-11, 2022-06-28", b"latest", b"\xc3\xa9")),
    *((b"Authorization", value) for value in (b"Bearer ntn_of_the_caller", b"Basic eDp5", b"")),
    *((b"Proxy-Authorization", b"Bearer x"), (b"Proxy-Connection", b"keep-alive")),
    *((b"X-Workspace-Id", value) for value in (b"{workspace}", b"{WORKSPACE}", b"{id}", b"", b"*")),
    *((b"X-Workspace-Id", b"{workspace}, {id}"), (b"X_Workspace_Id", b"{id}")),
    *((b"X-User-Id", b"{id}"), (b"X-Connection-Id", b"{id}"), (b"Remote-User", b"root")),
    *(
        (b"Idempotency-Key", value)
        for value in (b"{key}", b"{KEY}", b"{old}", b"{id}", b"", b"'--")
    ),
    *((b"Idempotency-Key", b"{key}, {key}"), (b"Idempotency-Key", "٣".encode())),
    *((b"Cookie", value) for value in (b"token_v2=notion", b"a=b; " * 50, b"\xff")),
    *((b"Host", value) for value in (b"api.notion.com", b"evil.example", b"", b"a b", b"[::1")),
    *((b"Accept", b"text/html"), (b"Accept-Encoding", b"identity;q=0"), (b"User-Agent", b"evil/1")),
    *((b"Content-Type", value) for value in (b"text/plain", b"application/json; charset=utf-7")),
    *((b"Content-Type", value) for value in (b"application/xml", b"\xff", b"", b"multipart/mixed")),
    *((b"Content-Type", b"multipart/form-data"), (b"Content-Language", b"x")),
    *((b"Connection", value) for value in (b"X-Workspace-Id", b"Authorization, keep-alive", b"TE")),
    *((b"TE", b"trailers"), (b"Trailer", b"Authorization"), (b"Keep-Alive", b"timeout=999")),
    *(
        (b"Range", b"bytes=0-1"),
        (b"If-None-Match", b"*"),
        (b"If-Match", b'"x"'),
        (b"Max-Forwards", b"0"),
    ),
    *(
        (b"Expect", b"100-continue"),
        (b"Expect", b"200-ok"),
        (b"Origin", b"null"),
        (b"X", b"y" * 7000),
    ),
    *((b"X-Request-Id", value) for value in (b"abcdefgh", b"{token}", b"../../x", b"a" * 500)),
    *((b"traceparent", b"00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-01"), (b"Last-Event-ID", b"0")),
    *((b"X-Amz-Target", b"x"), (b"Content-Encoding", b"identity"), (b"Early-Data", b"1")),
    *((b"Upgrade-Insecure-Requests", b"1"), (b"Sec-Fetch-Site", b"cross-site")),
)

UPGRADES: tuple[tuple[bytes, bytes], ...] = (
    *((b"Upgrade", b"websocket"), (b"Upgrade", b"h2c"), (b"Upgrade", b"TLS/1.2")),
)

FRAMES: tuple[tuple[bytes, ...], ...] = (
    (b"Transfer-Encoding: chunked, identity",),
    (b"Transfer-Encoding: identity",),
    (b"Transfer-Encoding: xchunked",),
    (b"Transfer-Encoding: gzip, chunked",),
    (b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
    (b"Transfer-Encoding: chunked", b"Content-Length: 4"),
    (b"Content-Length: 4", b"Transfer-Encoding: chunked"),
    (b"Transfer-Encoding : chunked",),
    (b"Transfer-Encoding:\x0bchunked",),
    (b"Transfer-Encoding: chunked\x00",),
    (b"Transfer_Encoding: chunked", b"Content-Length: 4"),
    (b"Content-Length: 2", b"Content-Length: 4"),
    (b"Content-Length: 2, 4",),
    (b"Content-Length: +2",),
    (b"Content-Length: 0x2",),
    (b"Content-Length: -1",),
    (b"Content-Length: 4 ",),
    (b"Content-Length: " + b"9" * 300,),
    (b"Content-Length: \xd9\xa3",),
    (b" Content-Length: 2",),
)
"""Lines that say how long the body is, in ways on which two parsers may differ."""

VALUES: tuple[bytes, ...] = (
    *(b"null", b"true", b"-1", b"0", b"1.5", b"1e308", b"1e400", b"NaN", b"Infinity", b"-Infinity"),
    *(b"1" + b"0" * 5000, b"18446744073709551616", b"-0", b"-0.0", b'""', b'"x"', b'"\\u0000"'),
    *(b'"\\ud800"', b'"\xff"', b'"\xed\xa0\x80"', b'"\x00"', b'"{id}"', b'"../.."', b"[]", b"{}"),
    *(b"[" * 33 + b"]" * 33, b"[" * 30 + b"]" * 30, b'{"a":' * 40 + b"1" + b"}" * 40, b"[null]"),
    *(b'{"type":"after_block","after_block":{"id":"{id}"}}', b'{"__proto__":{"a":1}}', b"0x10"),
    *(b'"' + b"x" * 9000 + b'"', b'{"page_id":"{id}"}', b'{"database_id":"{id}"}', b"01", b"'x'"),
    *(b'{"value":"database","property":"object"}', b'"2026-03-11"', b'"\\u002e\\u002e/"'),
)
"""JSON, or nearly."""

BODIES: tuple[bytes, ...] = (
    *(b"", b" ", b"null", b"[]", b"[{}]", b'"x"', b"7", b"not json", b'{"a":', b"{} {}", b"{}x"),
    *(
        b"\xef\xbb\xbf{}",
        "{}".encode("utf-16"),
        b"{'a':1}",
        b"{} // x",
        b"{,}",
        b'{"a":1,}',
        b"NaN",
    ),
    *(b"[" * 100_000, b'{"a":' * 50_000, b'{"a":"\xff"}', b"a=b&c=d", b"<x/>", b"\x1f\x8b\x08\x00"),
)

KEYS: tuple[bytes, ...] = (
    *(b"no_such_key", b"Children", b"children ", b"\\u0063hildren", b"__proto__", b"constructor"),
    *(b"", b"token", b"auth", b"children\\u0000", b"x" * 500, b"after", b"position", b"archived"),
    *(
        b"in_trash",
        b"page_size",
        b"start_cursor",
        b"url",
        b"method",
        b"path",
        b"headers",
        "ｑｕｅｒｙ".encode(),
    ),
)
