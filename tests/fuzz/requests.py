"""Requests as bytes: heads, framing of bodies, and what is not HTTP."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from random import Random

Headers = list[tuple[str, str]]

FUZZ_USERS = ("mallory", "mallory@a", "mallory@b", "trudy", "größe", "m" * 200)
"""Values of ``x-user``, each another user's."""


def mark(user: str | None) -> str:
    """Returns the text by which a user's data can be told from that of others; that of None may be anybody's."""
    number = FUZZ_USERS.index(user) + 1 if user in FUZZ_USERS else 0
    return f"MARK{number}Q"


_MARK = re.compile(rb"MARK[0-9]Q")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """Bytes for one connection, and how to judge what comes back.

    Attributes:
        parts: what is sent, in separate writes.
        methods: the method of each request in it: HEAD and CONNECT have responses of their own.
        user: whose data the responses may contain; None where that is not certain.
        is_http: False where servers may refuse the request by themselves, in any form, or close the connection.
        awaits_continue: whether to wait for the server before the second part is sent.
        half_close: whether to close this side of the connection after the request.
        leave_after: close the connection after that many bytes of the response.
        may_reuse: whether another exchange may follow on the connection.
        is_stream_whole: whether the stream in the response has to end with the end of a run.
    """

    parts: tuple[bytes, ...]
    methods: tuple[str, ...]
    user: str | None
    is_http: bool = True
    awaits_continue: bool = False
    half_close: bool = False
    leave_after: int | None = None
    may_reuse: bool = True
    is_transcription: bool = False
    is_stream_whole: bool = False


@dataclasses.dataclass(slots=True, kw_only=True)
class Draft:
    """A request that generators change until it is built."""

    method: str
    target: str
    user: str | None
    headers: Headers = dataclasses.field(default_factory=list)
    body: bytes | None = None
    is_http: bool = True
    """See `Exchange`."""
    user_is_certain: bool = True
    leave_after: int | None = None
    is_stream_whole: bool = False

    def head(self, *framing: tuple[str, str]) -> bytes:
        names = {name.lower() for name, _ in self.headers}
        fields = list(self.headers)
        if "host" not in names:
            fields.insert(0, ("Host", "server.example"))
        if self.user is not None and "x-user" not in names:
            fields.append(("X-User", self.user.encode().decode("latin-1")))
        lines = [f"{self.method} {self.target} HTTP/1.1", *(f"{name}: {value}" for name, value in (*fields, *framing))]
        return self._marked(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace"))

    @property
    def content(self) -> bytes:
        """The body as it is sent, before it is framed: a chunk may end within a mark."""
        return self._marked(self.body or b"")

    def _marked(self, data: bytes) -> bytes:
        # Whose data this becomes is not certain either.
        return data if self.user_is_certain else _MARK.sub(mark(None).encode(), data)

    def exchange(self, *parts: bytes, **options: bool) -> Exchange:
        defaults = {
            "is_http": self.is_http,
            "may_reuse": self.is_http and self.leave_after is None,
        }
        return Exchange(
            parts=tuple(parts),
            methods=(self.method,),
            user=self.user if self.user_is_certain else None,
            leave_after=self.leave_after,
            is_transcription="transcribe" in self.target or b"transcribe" in (self.body or b""),
            is_stream_whole=self.is_stream_whole,
            **{**defaults, **options},
        )

    def build(self) -> Exchange:
        """Returns the request with the usual framing."""
        if self.body is None and self.method not in ("POST", "PUT", "PATCH"):
            return self.exchange(self.head())
        body = self.content
        return self.exchange(self.head(("Content-Length", str(len(body)))) + body)


# --- framing that is right ------------------------------------------------------------


def _chunks(body: bytes, rng: Random) -> list[bytes]:
    size = rng.choice((1, 7, 64, 4096)) if len(body) < 2000 else 4096
    return [body[start : start + size] for start in range(0, len(body), size)]


def chunked(draft: Draft, rng: Random) -> Exchange:
    form = rng.choice((b"%x", b"%X", b"00%x"))
    chunks = b"".join(form % len(chunk) + b"\r\n" + chunk + b"\r\n" for chunk in _chunks(draft.content, rng))
    return draft.exchange(draft.head(("Transfer-Encoding", "chunked")), chunks + b"0\r\n\r\n")


def in_pieces(draft: Draft, rng: Random) -> Exchange:
    """The usual request, cut anywhere."""
    whole = b"".join(draft.build().parts)
    cuts = sorted(rng.randrange(len(whole) + 1) for _ in range(3))
    pieces = (whole[start:end] for start, end in zip((0, *cuts), (*cuts, len(whole)), strict=True))
    return draft.exchange(*pieces)


def expect(draft: Draft, rng: Random) -> Exchange:
    body = draft.content
    head = draft.head(("Content-Length", str(len(body))), ("Expect", rng.choice(("100-continue", "100-Continue"))))
    return draft.exchange(head, body, awaits_continue=rng.random() < 0.5, may_reuse=False)


def half_closed(draft: Draft, rng: Random) -> Exchange:
    # Servers may take the end of the input for the client's leaving.
    return draft.exchange(*draft.build().parts, half_close=True, is_http=False, may_reuse=False)


# --- framing that is wrong ------------------------------------------------------------


def incomplete(draft: Draft, rng: Random) -> Exchange:
    """Less than the head promises, or less than a head, and the end of the input."""
    whole = draft.head(("Content-Length", str(len(draft.content) + rng.randrange(1, 50)))) + draft.content
    cut = len(whole) if rng.random() < 0.5 else rng.randrange(1, len(whole))
    return draft.exchange(whole[:cut], is_http=False, half_close=True, may_reuse=False)


def wrong_length(draft: Draft, rng: Random) -> Exchange:
    body = draft.content
    length = rng.choice(
        ("many", "-1", "0x2", "9" * 400, "1,1", "+5", "5 5", "", " ", "1.0", "\xb2", str(len(body) // 2))
    )
    return draft.exchange(
        draft.head(("Content-Length", length)) + body, is_http=False, half_close=True, may_reuse=False
    )


def two_lengths(draft: Draft, rng: Random) -> Exchange:
    body = draft.content
    second = rng.choice((("Content-Length", "3"), ("Transfer-Encoding", "chunked"), ("Content-Length", str(len(body)))))
    framing = [("Content-Length", str(len(body))), second]
    rng.shuffle(framing)
    return draft.exchange(
        draft.head(*framing) + body + b"\r\n0\r\n\r\n", is_http=False, half_close=True, may_reuse=False
    )


def wrong_chunks(draft: Draft, rng: Random) -> Exchange:
    body = draft.content
    size = b"%x" % len(body)
    chunks = rng.choice(
        (
            b"zz\r\n" + body + b"\r\n0\r\n\r\n",
            b"-1\r\n\r\n0\r\n\r\n",
            size + b"\r\n" + body,
            size + b"\r\n" + body + b"0\r\n\r\n",
            size + b"\n" + body + b"\n0\n\n",
            b"f" * 17 + b"\r\n" + body + b"\r\n0\r\n\r\n",
            size + b";name=value\r\n" + body + b"\r\n0\r\n\r\n",
            size + b";" + b"x" * 9000 + b"\r\n" + body + b"\r\n0\r\n\r\n",
            size + b"\r\n" + body + b"\r\n0\r\nX-Trailer: a\r\n\r\n",
            b"",
            b"0\r\n",
            b"\r\n",
        )
    )
    coding = rng.choice(
        ("chunked", "chunked", "chunked", "Chunked", "gzip, chunked", "gzip", "chunked, chunked", "identity", " ")
    )
    head = draft.head(("Transfer-Encoding", coding))
    return draft.exchange(head + chunks, is_http=False, half_close=True, may_reuse=False)


def not_http(draft: Draft, rng: Random) -> Exchange:
    """A head with bytes replaced."""
    whole = b"".join(draft.build().parts)
    head = whole.partition(b"\r\n\r\n")[0]
    start = rng.randrange(len(head))
    junk = rng.choice(
        (b"\0", b"\r", b"\n", b"\r\n", b"\r\n ", b":", b" ", b"\xff", b"\r\n\r\n", b"a" * 70_000, b" HTTP/9.9\r\n", b"")
    )
    data = whole[:start] + junk + whole[start + rng.randrange(5) :]
    return draft.exchange(data, is_http=False, half_close=True, may_reuse=False)


def other_version(draft: Draft, rng: Random) -> Exchange:
    whole = b"".join(draft.build().parts)
    version = rng.choice((b"HTTP/1.0", b"HTTP/0.9", b"HTTP/2.0", b"HTTP/1.2", b"http/1.1", b"HTTP/1.10", b"", b"ICY"))
    return draft.exchange(whole.replace(b"HTTP/1.1", version, 1), is_http=False, half_close=True, may_reuse=False)


Framing = Callable[[Draft, Random], Exchange]

RIGHT: Sequence[Framing] = (chunked, chunked, in_pieces, expect)
WRONG: Sequence[Framing] = (
    half_closed, incomplete, wrong_length, two_lengths, wrong_chunks, wrong_chunks, not_http, other_version,
)  # fmt: skip


def pipelined(drafts: Sequence[Draft]) -> Exchange:
    """Requests sent at once on one connection."""
    return Exchange(
        parts=(b"".join(part for draft in drafts for part in draft.build().parts),),
        methods=tuple(draft.method for draft in drafts),
        user=drafts[0].user if all(draft.user_is_certain for draft in drafts) else None,
        is_http=all(draft.is_http for draft in drafts),
        is_transcription=any("transcribe" in draft.target or b"transcribe" in draft.content for draft in drafts),
        may_reuse=False,
    )
