"""What must hold of every response, of the server's log, and of its memory."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

from ..fixtures.fuzz_app import SECRET
from .client import Answer
from .requests import Exchange, mark

ALICE_MARK = "ALICES-OWN-WORDS"
"""In everything that the honest user writes, and in nothing that the fuzzer sends."""

_LEAKS = (SECRET.encode(), b"Traceback (most", b"RuntimeError")
_MARKS = re.compile(rb"MARK([0-9]+)Q")
_SERVERS_OWN_STATUSES = frozenset((501, 505))
"""What RFC 9110 and 9112 have for methods, codings and versions that a server does not know."""
_TRANSCRIPTION_STATUSES = frozenset((502, 504))
_PROVIDER_ERROR = b'{"error":"provider_error",'
"""Node's runtime has the status 500 for it (docs/protocol.md, section 10)."""
_UNREADABLE_CHUNKS = frozenset(("flask", "django-wsgi"))
"""gunicorn reports invalid chunks by an exception where the body is read, which these frameworks answer with 500."""


def find_fault(exchange: Exchange, method: str, answer: Answer, adapter: str) -> str | None:
    """Returns what is wrong with the answer to a request of an exchange, or None."""
    if answer.outcome == "hung":
        return "no response in time"
    if answer.outcome == "closed":
        is_fault = exchange.is_http and not exchange.awaits_continue
        return "closed without a response" if is_fault else None
    return (
        _find_leak(exchange, answer)
        or _find_wrong_status(exchange, answer, adapter)
        or _find_wrong_body(exchange, method, answer)
    )


def _find_leak(exchange: Exchange, answer: Answer) -> str | None:
    if ALICE_MARK.encode() in answer.body:
        return "shows the honest user's words"
    for word in _LEAKS:
        if word in answer.body:
            return f"reveals {word!r}"
    if exchange.user is not None:
        own = mark(exchange.user)[4:-1].encode()
        others = set(_MARKS.findall(answer.body)) - {own, b"0"}
        if others:
            return f"shows words of other users: {others}"
    return None


def _find_wrong_status(exchange: Exchange, answer: Answer, adapter: str) -> str | None:
    status = answer.status
    if status < 500:
        return None
    if status == 503 and "retry-after" in answer.headers:
        return None
    if exchange.is_transcription and (
        status in _TRANSCRIPTION_STATUSES or (status == 500 and answer.body.startswith(_PROVIDER_ERROR))
    ):
        return None
    if not exchange.is_http and (
        status in _SERVERS_OWN_STATUSES or (status == 500 and adapter in _UNREADABLE_CHUNKS and _is_chunked(exchange))
    ):
        return None
    return "wrong status"


def _is_chunked(exchange: Exchange) -> bool:
    return b"transfer-encoding:" in b"".join(exchange.parts).lower()


def _find_wrong_body(exchange: Exchange, method: str, answer: Answer) -> str | None:
    if not answer.is_whole or method == "HEAD":
        return None
    content_type = answer.headers.get("content-type", "").partition(";")[0]
    if answer.status >= 400:
        return _find_unclear_refusal(answer.body, content_type) if exchange.is_http else None
    if content_type == "text/event-stream":
        return _find_broken_stream(exchange, answer.body)
    if content_type == "application/json" and answer.body:
        try:
            json.loads(answer.body)
        except ValueError:
            return "not JSON"
    return None


def _find_unclear_refusal(body: bytes, content_type: str) -> str | None:
    """A refusal is JSON, and says why."""
    if content_type != "application/json":
        return "a refusal that is not JSON"
    try:
        error = json.loads(body)["error"]
    except (ValueError, TypeError, KeyError):
        return "a refusal without an error"
    return None if isinstance(error, str) and error else "a refusal without an error"


def _find_broken_stream(exchange: Exchange, body: bytes) -> str | None:
    if body and not body.endswith(b"\n\n"):
        return "a stream that ends inside a frame"
    last: object = None
    for block in body.split(b"\n\n"):
        for line in block.split(b"\n"):
            if not line or line.startswith((b":", b"id: ")):
                continue
            if not line.startswith(b"data: "):
                return f"a line that is no field: {line[:100]!r}"
            try:
                last = json.loads(line[6:])
            except ValueError:
                return f"an event that is not JSON: {line[:100]!r}"
    if exchange.is_stream_whole or last is not None:
        kind = last.get("type") if isinstance(last, dict) else None
        if kind not in ("RUN_FINISHED", "RUN_ERROR"):
            return f"a stream that ends with {kind}"
    return None


# --- the log -----------------------------------------------------------------------------

_HEADLINE = "Traceback (most recent call last):"
_CHAINED = ("The above exception was the direct cause", "During handling of the above exception")
_EXPECTED = re.compile(rf"{SECRET}|^gunicorn\.http\.errors\.\w+", re.MULTILINE)


def find_tracebacks(log: str) -> list[str]:
    """Returns the tracebacks in a log, without those of the agents that fail on purpose.

    And without those of frameworks to which gunicorn reports that the body's chunks are invalid.
    """
    return [text for text in _tracebacks(log) if not _EXPECTED.search(text)]


def _tracebacks(log: str) -> Iterator[str]:
    lines: list[str] = []
    for part in log.split(_HEADLINE)[1:]:
        lines.append(f"{_HEADLINE}{part}")
        if not any(text in part for text in _CHAINED):
            yield "".join(lines)
            lines = []
    if lines:
        yield "".join(lines)


# --- memory --------------------------------------------------------------------------------


def resident_bytes(pid: int) -> int:
    """Returns the resident memory of a process and of its children; 0 where the system does not say."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE") + sum(resident_bytes(int(child)) for child in children)
