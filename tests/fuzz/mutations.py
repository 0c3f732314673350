"""Changes to a right request: its path, query, header fields, body, user and origin."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from ..fixtures.fuzz_app import MAX_BODY, ORIGIN
from . import values
from .drafts import Value
from .requests import Draft

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
FOREIGN_METHODS = ("PROPFIND", "BREW", "get", "A" * 40)

LONG_TARGET = 4000
"""Servers refuse longer ones: gunicorn accepts lines of 4,094 bytes."""

PIECES = (
    "%", "%1", "%zz", "%ff", "%c0%af", "%ed%a0%80", "%00", "%0a", "%0d%0a", "%2F", "%2f%2f", "%2e%2e", "..", ".", "//",
    "/", ";a=b", "%20", "+", "caf%C3%A9", "%E2%80%AE", "a" * 3000, "%2F" * 200, "/" * 300, "*", "@", ":", "~", "%25",
    "%252F", "undefined", "info", "threads", "agent", "run", "{", "|", "^", "`", "[", "]", "\\", "%5C",
)  # fmt: skip
QUERIES = (
    "limit=0", "limit=-1", "limit=ten", "limit=1e3", "limit=%D9%A3", "limit=" + "1" * 50, "cursor=x", "cursor=%5B%5D",
    "cursor=null", "cursor=%5B1%5D", "cursor=%5B1,2,3%5D", "cursor=%7B%7D", "cursor=%ff", "cursor=%5Bnull,null%5D",
    "cursor=" + "%5B" * 1000, "cursor=%5B1" + "0" * 400 + ",%22x%22%5D", "cursor=%5BNaN,%22x%22%5D",
    "cursor=%5B1e999,%22x%22%5D", "cursor=%5B1,%22%5Cud800%22%5D", "cursor=%5B1,%22%00%22%5D", "agentId=",
    "agentId=%00", "agentId=a&agentId=b", "includeArchived=TRUE", "includeArchived", "&&&", "=", "%", "a=%zz",
    "limit=1;cursor=x",
    "&".join("a=b" for _ in range(500)), "x" * 5000, "limit=2&limit=0",
)  # fmt: skip
CURSORS = (
    "", " ", "0.0", "1.0", "0.1", "1.1", "-1.-1", "1", ".", "1.", ".1", "1.1.1", "01.1", "1.01", "1e3.1",
    "9" * 18 + ".1", "1." + "9" * 18, "9" * 19 + "." + "9" * 19, "9" * 3000, "1.1\u0661", "NaN", "null", "1,1",
    "1.1 ", "0x1.1", "\ud800", "1.1000000007", "1.1000000000",
)  # fmt: skip
"""Cursors of a stream, in the body and in a header."""

_ORIGINS = (
    "null", "https://elsewhere.example", ORIGIN, ORIGIN.upper(), f"{ORIGIN}:443", f"{ORIGIN}.evil.example",
    f"{ORIGIN}/", "http://server.example", "https://server.example", "http://[::1", "http://a:99999999",
    "file://", "", "*", "a b",
    "http://" + "a" * 5000, "https://\xff", f"{ORIGIN}, {ORIGIN}", "http://user@server.example",
    "chrome-extension://a",
)  # fmt: skip
_TYPES = (
    "application/json", "application/json; charset=utf-8", "APPLICATION/JSON", "text/plain",
    "text/plain;charset=UTF-8",
    "application/x-www-form-urlencoded", "multipart/form-data", "multipart/form-data; boundary=b", "multipart/mixed",
    "application/json, text/plain", "text/plain; a=application/json", "application/ld+json", "", " ", ";", "/",
    "a/b/c",
    'application/json; a="', "application/json; charset=\xff", "application/json; charset=klingon", "x" * 5000,
    'multipart/form-data; boundary=""', "multipart/form-data; boundary=" + "b" * 500, "audio/webm",
    "multipart/form-data; boundary*=utf-8''%E2%82%AC", "multipart/form-data; boundary=\xff\xfe",
)  # fmt: skip
_FIELDS: Sequence[tuple[str, Sequence[str]]] = (
    ("Content-Type", _TYPES),
    ("Content-Type", _TYPES),
    ("Origin", _ORIGINS),
    ("Origin", _ORIGINS),
    ("Last-Event-ID", (*CURSORS[:-3], "\xf0\x9f")),
    ("Sec-Fetch-Site", ("cross-site", "same-site", "same-origin", "none", "", "\xff", "SAME-ORIGIN")),
    ("X-Forwarded-Host", ("page.example", "[[[,:::", "", "page.example, other", "a:b:c", "[::1]:80", "x" * 3000)),
    ("X-Forwarded-Proto", ("https", "\xff", "", "http,https")),
    ("Cookie", ("a=b", "a", ";;;=", "a=\xff", "sessionid=" + "x" * 3000, "csrftoken=a; csrftoken=b")),
    ("Authorization", ("Basic YTpi", "Negotiate x", "Bearer x", "Bearer", "", "\xff \xff", "bearer" + " " * 300)),
    ("Accept", ("text/event-stream", ";;;,,,q=x", "*/*", "", "application/json;q=nan")),
    ("Content-Encoding", ("gzip", "identity", "br", "\xff")),
    ("Access-Control-Request-Method", ("POST", "BREW", "")),
    ("Access-Control-Request-Headers", ("x-a, content-type", "", ",,,", "*", "authorization", "\xff", "a" * 3000)),
    ("Range", ("bytes=9-1", "bytes=0-")),
    ("X_User", ("alice",)),
    ("X-HTTP-Method-Override", ("DELETE",)),
    ("X-Original-URL", ("/memory-auto/threads/clear",)),
    ("X-Long", ("a" * 7000,)),
    ("X-Empty", ("",)),
    ("Forwarded", ("for=1.2.3.4;host=page.example",)),
    ("TE", ("trailers", "chunked")),
    ("DNT", ("1" * 100,)),
)  # fmt: skip
_HOSTS = (
    "",
    "page.example",
    "[::1",
    "[::1]:80",
    "a b",
    "server.example:99999",
    "\xff",
    "a,b",
    "x" * 3000,
    "server.example.",
)
_USERS = (
    "", "@", "@a", "mallory@", "MALLORY", "mallory@A", "mallory@a@b", "alice", "Alice", "alices", "alice\xff", "null",
    "0", "[null,\"alice\"]", "x" * 3000, "\xf0\x9f\x98\x80", "mallory, alice", "alice%00", "a\x85b",
)  # fmt: skip


def _split(target: str) -> tuple[str, str, str]:
    """Returns the mount, the path below it, and the query with its question mark."""
    path, mark, text = target.partition("?")
    mount, slash, rest = path[1:].partition("/")
    return f"/{mount}", f"{slash}{rest}", f"{mark}{text}"


def change_path(draft: Draft, body: Value | None, rng: Random) -> None:
    mount, path, text = _split(draft.target)
    segments = path.split("/")
    piece = rng.choice(PIECES)
    match rng.randrange(6):
        case 0:
            segments[rng.randrange(len(segments))] = piece
        case 1:
            segments.insert(rng.randrange(len(segments)) + 1, piece)
        case 2:
            del segments[rng.randrange(len(segments))]
        case 3:
            position = rng.randrange(len(path) + 1)
            segments = [path[:position] + piece + path[position:]]
        case 4:
            segments.append("")
        case 5:
            segments = [path.upper()]
    below = "/".join(segments)
    if below and not below.startswith("/"):
        below = f"/{below}"
    draft.target = f"{mount}{below}{text}"
    draft.is_http = draft.is_http and len(draft.target) < LONG_TARGET


def change_target(draft: Draft, body: Value | None, rng: Random) -> None:
    """A target that servers may refuse or rewrite themselves."""
    draft.target = rng.choice(
        (
            f"http://elsewhere.example{draft.target}",
            draft.target[1:],
            draft.target + "#fragment",
            draft.target + "\xff\xfe",
            draft.target.replace("/", "//", 2),
            "/" + draft.target,
            f"/./{draft.target[1:]}",
            f"/nothing/..{draft.target}",
            "*",
            "",
            draft.target + " ",
            draft.target + "/" + "a" * 60_000,
            draft.target.replace("/", "%2F", 3),
        )
    )
    draft.is_http = False


def change_query(draft: Draft, body: Value | None, rng: Random) -> None:
    path, _, text = draft.target.partition("?")
    draft.target = f"{path}?{'&'.join(filter(None, (text, *rng.sample(QUERIES, rng.choice((1, 1, 2))))))}"
    draft.is_http = draft.is_http and len(draft.target) < LONG_TARGET


def change_headers(draft: Draft, body: Value | None, rng: Random) -> None:
    for _ in range(rng.choice((1, 1, 2, 3))):
        name, choices = rng.choice(_FIELDS)
        value = rng.choice(choices)
        if name == "Content-Type" or rng.random() < 0.8:  # gunicorn refuses two of them
            draft.headers = [field for field in draft.headers if field[0] != name]
        draft.headers.append(
            (name, value.encode("utf-8", "replace").decode("latin-1") if max(value, default="") > "\xff" else value)
        )


def change_many_headers(draft: Draft, body: Value | None, rng: Random) -> None:
    """More or stranger fields than servers accept."""
    # Not websocket: where such a request has a body, uvicorn neither answers it nor passes it on.
    protocol = rng.choice(("h2c", "nothing"))
    draft.headers += rng.choice(
        (
            [(f"X-{number}", "a") for number in range(rng.choice((80, 200, 1000)))],
            [("X-A", "a")] * rng.choice((80, 1000)),
            [("X-Long", "a" * 60_000)],
            [("Connection", "close"), ("Connection", "keep-alive")],
            [("Connection", "upgrade"), ("Upgrade", protocol)],
            [("Expect", "the unexpected")],
            [("X-Nul", "\0")],
            [("X-Folded", "a\r\n b")],
            [(" X-Space", "a")],
            [("X-Space ", "a")],
            [("", "a")],
            [("X:Colon", "a")],
            [("If-None-Match", "*")],
            [("Transfer-Encoding", "identity")],
            [("Content-Type", "application/json"), ("Content-Type", "text/plain")],
            [("X-\xff", "a")],
        )
    )
    draft.is_http = False


def change_host(draft: Draft, body: Value | None, rng: Random) -> None:
    draft.headers += [("Host", rng.choice(_HOSTS)) for _ in range(rng.choice((1, 1, 1, 2)))]
    draft.is_http = False  # frameworks have views of their own about it


def change_method(draft: Draft, body: Value | None, rng: Random) -> None:
    if rng.random() < 0.2:
        draft.method, draft.is_http = rng.choice(FOREIGN_METHODS), False
    else:
        draft.method = rng.choice(METHODS)


def change_user(draft: Draft, body: Value | None, rng: Random) -> None:
    if rng.random() < 0.2:
        draft.headers += [("X-User", draft.user or ""), ("X-User", rng.choice(_USERS))]
    elif rng.random() < 0.2:
        draft.user = None
    else:
        draft.headers.append(("X-User", rng.choice(_USERS)))
    draft.user_is_certain = False


def change_body(draft: Draft, body: Value | None, rng: Random) -> None:
    value = body if body is not None else {"threadId": "t", "method": "info"}
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        value = values.mutate(value, rng)
    draft.body = values.encode(value, rng)
    _as_json(draft)


def change_body_text(draft: Draft, body: Value | None, rng: Random) -> None:
    draft.body = values.damage(draft.body or b'{"threadId":"t"}', rng)
    _as_json(draft)


def change_cursor(draft: Draft, body: Value | None, rng: Random) -> None:
    if body is None or rng.random() < 0.3:
        draft.headers.append(("Last-Event-ID", rng.choice([cursor for cursor in CURSORS if cursor.isascii()])))
    else:
        inner = body.get("body") if isinstance(body.get("body"), dict) else body
        cursor = rng.choice((rng.choice(CURSORS), values.odd_value(rng)))
        changed = {**inner, "lastSeenEventId": cursor}  # type: ignore[dict-item] - inner is a dict
        draft.body = values.encode(changed if inner is body else {**body, "body": changed}, rng)
        _as_json(draft)


def change_size(draft: Draft, body: Value | None, rng: Random) -> None:
    """A body around the limit."""
    size = MAX_BODY + rng.choice((-1, 0, 1, 1000, MAX_BODY))
    text = draft.body or b"{}"
    draft.body = text[:-1] + b" " * max(size - len(text), 0) + text[-1:]
    _as_json(draft)


def change_upload(draft: Draft, body: Value | None, rng: Random) -> None:
    """A form in place of the body, mostly for the transcription."""
    if rng.random() < 0.8:
        draft.target, draft.method = f"{_split(draft.target)[0]}/transcribe", "POST"
    draft.body, content_type = form(rng)
    draft.headers = [field for field in draft.headers if field[0] != "Content-Type"]
    draft.headers.append(("Content-Type", content_type))


def _as_json(draft: Draft) -> None:
    if not any(name == "Content-Type" for name, _ in draft.headers):
        draft.headers.append(("Content-Type", "application/json"))


# --- forms -----------------------------------------------------------------------------

_DISPOSITIONS = (
    b'form-data; name="audio"; filename="a.webm"', b'form-data; name="audio"', b'form-data; name="other"; filename="a"',
    b'form-data; filename="a"', b"form-data", b"attachment", b'form-data; name="audio"; filename=""', b"",
    b"form-data; name=\"audio\"; filename*=UTF-8''gr%C3%B6%C3%9Fe", b'form-data; name="audio"; filename="\xff\xfe"',
    b'form-data; name="audio"; filename="broken"', b'form-data; name="audio"; filename="../../etc/passwd"',
    b'form-data; name="audio"; filename*=klingon\'\'a', b'form-data; name="audio"; filename="a\\"b"', b";" * 500,
    b'form-data; name="audio"; filename*0="a"; filename*1="b"', b'form-data; name="' + b"a" * 9000 + b'"',
    b"form-data; " + b'a="b"; ' * 900,
)  # fmt: skip
_PART_TYPES = (
    b"audio/webm", b"audio/webm;codecs=opus", b"text/html", b"", b"\xff", b"audio/webm\x00", b"audio/webm; a=\x1b[2J",
    b"application/octet-stream", b"AUDIO/WEBM", b"audio/" + b"x" * 3000,
)  # fmt: skip


def form(rng: Random) -> tuple[bytes, str]:
    """Returns a form with its content type, right or not."""
    boundary = rng.choice((b"b", b"--", b"WebKitFormBoundary7MA4", b"b" * 70, b"a b", b"'()+_,-./:=?"))
    line = rng.choice((b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r"))
    parts: list[bytes] = []
    for _ in range(rng.choice((1, 1, 1, 0, 2, 3, 120))):
        head = [b"content-disposition: " + rng.choice(_DISPOSITIONS), b"content-type: " + rng.choice(_PART_TYPES)]
        if rng.random() < 0.2:
            head.append(
                rng.choice((b"content-transfer-encoding: base64", b"no colon", b": a", b"\0: \0", b"x: " + b"y" * 9000))
            )
        data = rng.choice((b"abc", b"", b"--" + boundary, b"\r\n" * 50, rng.randbytes(30), b"a" * 2000))
        parts.append(b"--" + boundary + line + line.join(head) + line + line + data + line)
    text = b"".join(parts) + rng.choice(
        (b"--" + boundary + b"--" + line, b"", b"--" + boundary + line, b"--" + boundary + b"--")
    )
    if rng.random() < 0.3:
        text = values.damage(text, rng)
    spelled = rng.choice((boundary, boundary, boundary, b'"' + boundary + b'"', b"other"))
    return text, f"multipart/form-data; boundary={spelled.decode()}"


Mutation = Callable[[Draft, "Value | None", Random], None]

MUTATIONS: Sequence[Mutation] = (
    *[change_body] * 6, *[change_body_text] * 3, *[change_path] * 3, change_target, *[change_query] * 2,
    *[change_headers] * 3, change_many_headers, change_host, *[change_method] * 2, *[change_user] * 2,
    *[change_cursor] * 2, change_size, *[change_upload] * 2,
)  # fmt: skip
