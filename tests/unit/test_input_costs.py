"""Every function that reads what a stranger wrote costs in proportion to it: a table, and what it must contain."""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from ag_ui.core import Tool
from pydantic_core import to_json

from copilot_runtime import (
    CopilotRuntime,
    CorsConfig,
    ForwardHeaders,
    Headers,
    Request,
    User,
    create_copilot_runtime_handler,
)
from copilot_runtime._cli.trusted_hosts import parse_host
from copilot_runtime._concurrency.driver import run_sync
from copilot_runtime._events import Cursor, resume_index
from copilot_runtime._events.compacted_frames import CompactedFrame
from copilot_runtime._events.content import parts_to_text
from copilot_runtime._events.cursor import is_lost
from copilot_runtime._events.surrogates import SurrogateJoiner, ends_with_half, join_surrogates, without_surrogates
from copilot_runtime._http.ambient import has_ambient_credentials
from copilot_runtime._http.body import BodyError
from copilot_runtime._http.body_limits import BodyBudget, BodyLimits
from copilot_runtime._http.body_readers import SyncBody
from copilot_runtime._http.cors import (
    CorsDecision,
    evaluate_origin,
    is_cross_origin,
    is_origin,
    preflight,
    reject_cross_site,
)
from copilot_runtime._http.encoded_headers import decode_headers
from copilot_runtime._http.form import make_form_parts
from copilot_runtime._http.forward_headers import header_selector, merge_headers
from copilot_runtime._http.headers import media_type
from copilot_runtime._http.multipart import parse_multipart
from copilot_runtime._http.target import decode_segment, segments_below, split_raw_target, split_segments
from copilot_runtime._http.url_safety import is_fetchable
from copilot_runtime._log_text import one_line
from copilot_runtime._server.cors_log import RefusedOrigins
from copilot_runtime._server.endpoints import fail_fast_input  # noqa: F401 - which is imported when it is first needed
from copilot_runtime._server.endpoints.attachment_urls import without_unsafe_urls
from copilot_runtime._server.endpoints.audio import read_audio
from copilot_runtime._server.endpoints.content_generations import to_generation_0, to_generation_1
from copilot_runtime._server.endpoints.plain_input import read_plain
from copilot_runtime._server.endpoints.run_input import parse_input, size_in_memory
from copilot_runtime._server.endpoints.wire_names import refuse_python_names, refuse_python_names_of
from copilot_runtime._server.errors import HTTPError, InvalidRunInput
from copilot_runtime._server.input_limits import InputLimits
from copilot_runtime._server.router import Router
from copilot_runtime._server.routes import ROUTES
from copilot_runtime._strict_json import loads, loads_with_surrogates
from copilot_runtime._users import owner_key
from copilot_runtime.agents._http.request import build_headers, encode_body
from copilot_runtime.agents._http.response import EventDecoder
from copilot_runtime.agents._http.sse import SseParser
from copilot_runtime.agents._interrupts import parse_resume_entries, without_results
from copilot_runtime.stores._pagination import paginate, parse_cursor
from copilot_runtime.stores.protocol import ThreadInfo, ThreadQuery
from copilot_runtime.transcription import TranscriptionError

from .cost_helpers import assert_linear

pytestmark = pytest.mark.requirement("COST-01")

Prepare = Callable[[int], Callable[[], object]]

REFUSALS = (ValueError, BodyError, HTTPError, InvalidRunInput, TranscriptionError)

READING = (
    "_cli.trusted_hosts", "_events.content", "_events.cursor", "_events.surrogates", "_http.ambient",
    "_http.body_readers", "_http.cors", "_http.encoded_headers", "_http.form", "_http.forward_headers", "_http.headers",
    "_http.multipart", "_http.target", "_http.url_safety",
    "_log_text",
    "_server.cors_log", "_server.endpoints.attachment_urls", "_server.endpoints.audio",
    "_server.endpoints.content_generations", "_server.endpoints.plain_input", "_server.endpoints.run_input",
    "_server.endpoints.wire_names",
    "_server.input_limits", "_server.route_table", "_server.router", "_strict_json", "_users", "agents._http.request",
    "agents._http.response", "agents._http.sse", "agents._interrupts", "stores._pagination",
)  # fmt: skip
"""Modules that read what a client, or another server, wrote. Endpoints are measured as whole requests, below; what
events cost is in `test_costs`."""

ELSEWHERE: Mapping[str, str] = {
    "_cli.trusted_hosts.TrustedHostMiddleware": "compares one field, by what parse_host uses",
    "_server.input_limits.InputLimits.have_room": "compares two numbers",
    "_events.content.binary_kind": "looks at the start of a media type",
    "_events.content.binary_to_media": "one part, of a fixed number of members",
    "_events.content.media_to_binary": "likewise",
    "_events.cursor.is_reapers": "reads one of our own frames",
    "_events.cursor.joined_id": "reads the id of one of our own frames",
    "_http.headers.Headers.check_sendable": "looks once at each field, of a response",
    "_http.headers.Headers.sent_items": "likewise",
    "_http.headers.Headers.encoded_items": "likewise",
    **dict.fromkeys(
        (
            f"_http.body_readers.{name}"
            for name in (
                "AsyncBody.read",
                "AsyncBody.read_blocking",
                "SyncBody.read_blocking",
                "read_chunks",
            )
        ),
        "as SyncBody.read",
    ),
    **dict.fromkeys(
        (
            f"_http.body_readers.{name}"
            for name in (
                "BodyBudget.take",
                "HeldBytes.give_back",
                "LimitedBody.deadline",
                "LimitedBody.next_size",
                "LimitedBody.limit",
                "LimitedBody.set_owner",
                "LimitedBody.close",
            )
        ),
        "a few numbers",
    ),
    "_strict_json.refuse_overflow": "part of loads",
    "_server.router.Router.read_head": "part of Router.resolve",
    "_server.router.Router.responder": "looks up what Router.read_head does",
    "_http.cors.add_cors_headers": "reads only the response",
    "_http.target.normalize_base_path": "reads the configuration",
    "_log_text.escape_log_records": "installs what calls one_line",
    "_log_text.log_failure": "reads the text of one exception of the application, once, with one_line",
    "agents._http.request.validate_headers": "reads the configuration",
    "agents._http.response.raise_for_status": "reads at most 2,000 bytes",
    "agents._http.response.EventDecoder.finish": "reads nothing",
    "agents._interrupts.with_resume": "as parse_resume_entries, whose entries it takes",
    "agents._interrupts.without_copies": "in test_engine_resume",
    "agents._interrupts.is_copy": "one message",
    "stores._pagination.next_cursor": "one thread",
    "_server.route_table.PatternMatch.to_route_match": "at most two ids",
}
"""Functions of these modules that are not in the table, and why."""

RUN = {"threadId": "t", "runId": "r", "messages": [], "tools": [], "context": [], "state": {}, "forwardedProps": {}}
MESSAGE = {"id": "a", "role": "user", "content": "hi"}
PART = {"type": "text", "text": "hi"}
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
BINARY = {"type": "binary", "mimeType": "image/png", "data": "aGk="}
FILE = {"type": "image", "source": {"type": "file", "value": "f", "mimeType": "image/png"}}
URL = {"type": "image", "source": {"type": "url", "value": "http://169.254.169.254/a"}}
JSON = {"content-type": "application/json"}
BODY_LIMITS = BodyLimits(max_bytes=2**24, timeout_seconds=30, budget=BodyBudget(2**40))
WIDE = InputLimits(max_messages=10**6, max_parts=10**6, max_tools=10**6, max_context=10**6, max_resume=10**6)


def many_headers(size: int) -> Headers:
    return Headers([*((f"x-{number}", "a") for number in range(size)), ("origin", "https://a.example"), ("host", "b")])


def post(headers: Any = (), body: bytes = b"", path: str = "/agent/a/run") -> Request:
    return Request(method="POST", path=path, headers=headers, body=body)


def run_body(**members: Any) -> bytes:
    return json.dumps({**RUN, **members}).encode()


def messages(size: int, **members: Any) -> dict[str, Any]:
    return {**RUN, "messages": [{**MESSAGE, "id": str(number), **members} for number in range(size)]}


def of(make: Callable[[int], Any], call: Callable[[Any], object], *, may_refuse: bool = False) -> Prepare:
    """Prepares calls with what is made of a size."""

    def prepare(size: int) -> Callable[[], object]:
        value = make(size)
        return refused(lambda: call(value)) if may_refuse else lambda: call(value)

    return prepare


def parsed(make: Callable[[int], bytes], limits: InputLimits = WIDE) -> Prepare:
    return of(make, lambda body: parse_input(body, limits), may_refuse=True)


def refused(call: Callable[[], object]) -> Callable[[], object]:
    """Returns a call that may be refused, which costs, too."""

    def run() -> None:
        try:
            call()
        except REFUSALS:
            return

    return run


def audio(content_type: str, make: Callable[[int], bytes]) -> Prepare:
    def prepare(size: int) -> Callable[[], object]:
        request = post({"content-type": content_type}, make(size))
        return refused(lambda: read_audio(request, only_json=False))

    return prepare


def form(make: Callable[[int], bytes], content_type: str = "multipart/form-data; boundary=b") -> Prepare:
    return of(make, lambda body: parse_multipart(body, content_type), may_refuse=True)


HEAD = b'--b\r\ncontent-disposition: form-data; name="audio"; filename="a"\r\n\r\n'


def routed(make: Callable[[int], Request]) -> Prepare:
    router = Router(mode="auto", base_path=None, expose_memory_routes=True)
    return of(make, lambda request: router.resolve(request, router.read_head(request)), may_refuse=True)


def envelope(**members: Any) -> Request:
    return post(JSON, json.dumps(members).encode(), "/")


def fed(make: Callable[[int], Sequence[bytes]], parser: Callable[[], Any]) -> Prepare:
    def prepare(size: int) -> Callable[[], object]:
        chunks = make(size)

        def feed() -> None:
            fresh = parser()
            for chunk in chunks:
                list(fresh.feed(chunk))

        return feed

    return prepare


def sse() -> SseParser:
    return SseParser(10**9)


def resumed(make: Callable[[int], dict[str, Any]]) -> Prepare:
    return of(lambda size: [make(number) for number in range(size)], parse_resume_entries)


def joined(size: int) -> Callable[[], object]:
    deltas = [
        {"type": "TEXT_MESSAGE_CONTENT", "messageId": str(number % 3), "delta": half}
        for number in range(size)
        for half in ("a\ud83d", "\ude00")
    ]

    def run() -> None:
        joiner = SurrogateJoiner()
        for delta in deltas:
            for event in joiner.join(delta):
                joiner.repair(event)

    return run


def records(size: int) -> list[CompactedFrame]:
    return [CompactedFrame(number, b"data: {}\n\n") for number in range(1, size + 1)]


def thread_infos(size: int) -> list[ThreadInfo]:
    return [
        ThreadInfo(thread_id=str(at), agent_id="a", name=None, archived=False, created_at=0.0, updated_at=float(at))
        for at in range(size)
    ]


def tool_messages(size: int) -> Any:
    found = [SimpleNamespace(id=str(at), role="tool", tool_call_id=str(at), content="x") for at in range(size)]
    return SimpleNamespace(messages=found, model_copy=lambda update: update)


def nested(size: int) -> bytes:
    return b"[" * size + b"]" * size


COSTS: Mapping[str, Mapping[str, Prepare]] = {
    "_cli.trusted_hosts.parse_host": {"long": of(lambda n: "a:" * n, lambda text: parse_host(text), may_refuse=True)},
    "_events.content.parts_to_text": {"parts": of(lambda n: [PART] * n, lambda parts: parts_to_text(parts))},
    "_events.cursor.Cursor.parse": {"digits": of(lambda n: "1" * n + ".1", lambda text: Cursor.parse(text))},
    "_events.cursor.is_lost": {"records": of(records, lambda some: is_lost(some, len(some)))},
    "_events.cursor.resume_index": {"records": of(records, lambda some: resume_index(some, Cursor(1, len(some))))},
    "_events.surrogates.join_surrogates": {
        "halves": of(lambda n: "\ud83d" * n, lambda text: join_surrogates(text)),
        "pairs": of(lambda n: "\ud83d\ude00" * n, lambda text: join_surrogates(text)),
    },
    "_events.surrogates.ends_with_half": {"halves": of(lambda n: "\ud83d" * n, ends_with_half)},
    "_events.surrogates.SurrogateJoiner.join": {"halves": joined},
    "_events.surrogates.SurrogateJoiner.repair": {"halves": joined},
    "_events.surrogates.without_surrogates": {
        "list": of(lambda n: ["\ud83d"] * n, lambda value: without_surrogates(value)),
        "members": of(lambda n: {f"\ud83d{at}": "a" for at in range(n)}, lambda value: without_surrogates(value)),
    },
    "_http.ambient.has_ambient_credentials": {
        "fields": of(lambda n: many_headers(n), lambda headers: has_ambient_credentials(headers)),
        "long": of(lambda n: Headers({"authorization": "a " * n}), lambda headers: has_ambient_credentials(headers)),
    },
    "_http.body_readers.SyncBody.read": {
        "chunks": lambda n: lambda: run_sync(SyncBody(BODY_LIMITS, [b"a" * 1024] * n).read()),
        "too long": lambda n: refused(lambda: run_sync(SyncBody(BODY_LIMITS, [b"a" * 2**20] * n).read())),
    },
    "_http.form.make_form_parts": {"fields": lambda n: lambda: make_form_parts([("a", "b")] * n, ())},
    "_http.cors.evaluate_origin": {
        "long": of(
            lambda n: post({"origin": "a" * n}),
            lambda request: run_sync(evaluate_origin(CorsConfig(allow_origins=("https://a.example",)), request)),
        ),
    },
    "_http.cors.preflight": {
        "requested": of(
            lambda n: post({"access-control-request-headers": "x-a," * n}),
            lambda request: preflight(CorsConfig(allow_origins="*"), request),
        ),
    },
    "_http.cors.reject_cross_site": {
        "content type": of(
            lambda n: post({"content-type": "a/" * n, "origin": "https://a"}),
            lambda request: reject_cross_site(request, CorsDecision("*", False)),
        ),
        "fields": of(
            lambda n: post(many_headers(n)), lambda request: reject_cross_site(request, CorsDecision("*", True))
        ),
    },
    "_http.cors.is_origin": {"long": of(lambda n: "https://" + "a." * n, lambda text: is_origin(text))},
    "_http.cors.is_cross_origin": {
        "origin": of(
            lambda n: post({"origin": "https://" + "a:" * n, "host": "b"}), lambda request: is_cross_origin(request)
        ),
        "hosts": of(
            lambda n: post({"origin": "https://a", "x-forwarded-host": "a," * n}),
            lambda request: is_cross_origin(request),
        ),
    },
    "_http.forward_headers.ForwardHeaders.select": {
        "fields": of(lambda n: many_headers(n), lambda headers: ForwardHeaders().select(headers)),
    },
    "_http.forward_headers.ForwardHeaders.select_names": {
        "fields": of(lambda n: many_headers(n).names(), lambda names: ForwardHeaders().select_names(names)),
    },
    "_http.forward_headers.header_selector": {
        "fields": of(lambda n: many_headers(n), lambda headers: header_selector(ForwardHeaders())(headers)),
    },
    "_http.forward_headers.merge_headers": {
        "fields": of(lambda n: dict(many_headers(n)), lambda headers: merge_headers(headers, [("x-a", "b")])),
    },
    "_http.headers.media_type": {"parameters": of(lambda n: "a/b" + "; c=d" * n, lambda text: media_type(text))},
    "_http.headers.Headers.multi_items": {
        "fields": of(lambda n: many_headers(n), lambda headers: headers.multi_items())
    },
    "_http.headers.Headers.get": {"fields": of(lambda n: n, lambda n: many_headers(n).get("host"))},
    "_http.headers.Headers.names": {"fields": of(lambda n: many_headers(n), lambda headers: headers.names())},
    "_http.encoded_headers.decode_headers": {
        "fields": of(
            lambda n: [(b"x-%d" % at, b"value") for at in range(n)], lambda fields: decode_headers(fields).multi_items()
        )
    },
    "_http.headers.Headers.items": {"fields": of(lambda n: n, lambda n: many_headers(n).items())},
    "_http.headers.Headers.set_all": {
        "fields": of(lambda n: many_headers(n), lambda headers: headers.set_all([("a", "b"), ("host", "c")]))
    },
    "_http.headers.Headers.set": {"fields": of(lambda n: many_headers(n), lambda headers: headers.set("a", "b"))},
    "_http.headers.Headers.add": {"fields": of(lambda n: many_headers(n), lambda headers: headers.add(("a", "b")))},
    "_http.headers.Headers.remove": {"fields": of(lambda n: many_headers(n), lambda headers: headers.remove("host"))},
    "_http.multipart.parse_multipart": {
        "data": form(lambda n: HEAD + b"a" * 1000 * n + b"\r\n--b--\r\n"),
        "line ends": form(lambda n: HEAD + b"\r\n" * 500 * n + b"\r\n--b--\r\n"),
        "what looks like ends": form(lambda n: HEAD + b"\r\n--" * 300 * n + b"\r\n--b--\r\n"),
        "preamble": form(lambda n: b"\r\n--" * 300 * n),
        "epilogue": form(lambda n: HEAD + b"\r\n--b--\r\n" + b"\r\n--b" * 300 * n),
        "parts": form(lambda n: (HEAD + b"a\r\n") * n),
        "head of a part": form(lambda n: b"--b\r\n" + b"a: b\r\n" * 20 * n),
        "parameters of a part": form(lambda n: b"--b\r\ncontent-disposition: form-data" + b"; a=b" * 20 * n),
        "parameters": of(
            lambda n: "multipart/form-data" + "; a=b" * n, lambda text: parse_multipart(b"", text), may_refuse=True
        ),
        "quoted parameters": of(
            lambda n: "multipart/form-data" + '; a="\\"b"' * n, lambda text: parse_multipart(b"", text), may_refuse=True
        ),
        "continued parameters": of(
            lambda n: "multipart/form-data" + "".join(f"; a*{at}=b" for at in range(n)),
            lambda text: parse_multipart(b"", text),
            may_refuse=True,
        ),
    },
    "_http.target.split_raw_target": {
        "escapes": lambda n: lambda: split_raw_target("/a/" + "%41" * n, b"/a/" + b"A" * n, b"/a"),
        "other": lambda n: lambda: split_raw_target("/a/" + "%41/" * n, b"/b/" + b"A/" * n, b"/b"),
    },
    "_http.target.split_segments": {"segments": lambda n: lambda: split_segments("/a" * n)},
    "_http.target.segments_below": {
        "segments": of(lambda n: "/a" * n, lambda path: segments_below(path, "", "/a/a")),
    },
    "_http.target.decode_segment": {"escapes": lambda n: lambda: decode_segment("%41" * n)},
    "_http.url_safety.is_fetchable": {
        "long": lambda n: lambda: is_fetchable("http://" + "a." * n + "/" + "a" * n, ("http", "https")),
        "digits": lambda n: lambda: is_fetchable("http://" + "0x" * n, ("http", "https")),
        "spaces": lambda n: lambda: is_fetchable(" \t" * n + "http://a", ("http", "https")),
    },
    "_log_text.one_line": {"controls": lambda n: lambda: one_line("a\n" * n)},
    "_server.cors_log.RefusedOrigins.check": {
        "long": of(
            lambda n: post({"origin": "https://" + "a" * n}),
            lambda request: RefusedOrigins(CorsConfig()).check(request, CorsDecision(None, False)),
        ),
    },
    "_server.endpoints.attachment_urls.without_unsafe_urls": {
        "messages": of(lambda n: messages(n, content=[URL]), lambda wire: without_unsafe_urls(wire, ("http", "https"))),
        "parts": of(
            lambda n: messages(1, content=[URL] * n), lambda wire: without_unsafe_urls(wire, ("http", "https"))
        ),
    },
    "_server.endpoints.audio.read_audio": {
        "base64": audio(
            "application/json", lambda n: b'{"audio":"' + b"YWJj" * 100 * n + b'","mimeType":"audio/webm"}'
        ),
        "spaces": audio("application/json", lambda n: b'{"audio":"' + b"YW Jj" * n + b'","mimeType":"audio/webm"}'),
        "commas": audio("application/json", lambda n: b'{"audio":"' + b",=" * n + b'","mimeType":"audio/webm"}'),
        "type": audio("application/json", lambda n: b'{"audio":"YWJj","mimeType":"audio/webm' + b"; a" * n + b'"}'),
        "form": audio("multipart/form-data; boundary=b", lambda n: HEAD + b"a" * 1000 * n + b"\r\n--b--\r\n"),
    },
    "_server.endpoints.content_generations.to_generation_1": {
        "messages": of(lambda n: messages(n, content=[BINARY]), lambda wire: to_generation_1(wire)),
        "parts": of(lambda n: messages(1, content=[BINARY] * n), lambda wire: to_generation_1(wire)),
    },
    "_server.endpoints.content_generations.to_generation_0": {
        "messages": of(lambda n: messages(n, content=[FILE]), lambda wire: to_generation_0(wire)),
        "parts": of(lambda n: messages(1, content=[FILE] * n), lambda wire: to_generation_0(wire)),
        "results": of(lambda n: messages(n, role="tool", content=[PART]), lambda wire: to_generation_0(wire)),
    },
    "_server.endpoints.run_input.parse_input": {
        "messages": parsed(lambda n: json.dumps(messages(n)).encode()),
        "parts": parsed(lambda n: run_body(messages=[{**MESSAGE, "content": [PART] * n}])),
        "parts of both generations": parsed(lambda n: run_body(messages=[{**MESSAGE, "content": [BINARY, FILE] * n}])),
        "addresses": parsed(lambda n: run_body(messages=[{**MESSAGE, "content": [URL] * n}])),
        "messages and activities": parsed(
            lambda n: run_body(
                messages=[MESSAGE, {"id": "b", "role": "activity", "activityType": "A", "content": {}}] * n
            )
        ),
        "calls": parsed(
            lambda n: run_body(
                messages=[
                    {
                        "id": "a",
                        "role": "assistant",
                        "toolCalls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
                        * n,
                    }
                ]
            )
        ),
        "tools": parsed(lambda n: run_body(tools=[{"name": "a", "description": "b", "parameters": {}}] * n)),
        "context": parsed(lambda n: run_body(context=[{"description": "a", "value": "b"}] * n)),
        "resume": parsed(lambda n: run_body(resume=[{"interruptId": "a", "status": "resolved"}] * n)),
        "members": parsed(lambda n: run_body(**{f"x{number}": number for number in range(n)})),
        "state": parsed(lambda n: run_body(state={f"x{number}": [number] for number in range(n)})),
        "digits": parsed(lambda n: run_body(state="@").replace(b'"@"', b"[" + (b"9" * 299 + b",") * n + b"1]")),
        "invalid parts": parsed(lambda n: run_body(messages=[{**MESSAGE, "content": [{}] * n}]), InputLimits()),
        "invalid messages": parsed(lambda n: run_body(messages=[{}] * n)),
        "invalid results": parsed(lambda n: run_body(messages=[{**MESSAGE, "role": "tool", "content": [{}]}] * n)),
        "deep": parsed(lambda n: run_body(state="@").replace(b'"@"', nested(n))),
    },
    "_server.endpoints.plain_input.read_plain": {
        # Many more than the dictionaries that Python keeps for reuse.
        "messages": of(lambda n: messages(4 * n), read_plain),
        "calls": of(
            lambda n: {**RUN, "messages": [{"id": "a", "role": "assistant", "toolCalls": [CALL] * n}]}, read_plain
        ),
        "state": of(lambda n: {**RUN, "state": [{}] * n}, read_plain),
        "members": of(lambda n: {**RUN, **{f"x{at}": at for at in range(n)}}, read_plain),
    },
    "_server.endpoints.run_input.size_in_memory": {
        "messages": of(
            lambda n: parse_input(to_json(messages(50 * n)), WIDE),
            lambda parsed: size_in_memory(parsed),
        ),
    },
    "_server.endpoints.wire_names.refuse_python_names": {
        "messages": of(
            lambda n: parse_input(to_json(messages(n)), WIDE).model,
            lambda model: refuse_python_names(b"\\u00", model, ["messages"]),
        ),
        "body": of(lambda n: b'"\\u0' * n, lambda body: refuse_python_names(body, None, [])),
    },
    "_server.endpoints.wire_names.refuse_python_names_of": {
        "members": of(lambda n: {f"x{at}": at for at in range(n)}, lambda wire: refuse_python_names_of(Tool, wire)),
    },
    "_server.input_limits.InputLimits.check": {
        "messages": of(lambda n: messages(n), lambda wire: WIDE.check(wire, to_json(wire))),
        "deep and wide": of(
            lambda n: {"state": [[[[number]]] for number in range(n)]},
            lambda wire: WIDE.check(wire, to_json(wire)),
            may_refuse=True,
        ),
    },
    "_server.input_limits.InputLimits.check_plain": {
        "messages": of(lambda n: messages(n), lambda wire: WIDE.check_plain(wire, b"", has_parts=True)),
        "deep and wide": of(
            lambda n: {"messages": [], "state": [[[[number]]] for number in range(n)]},
            lambda wire: WIDE.check_plain(wire, to_json(wire["state"]), has_parts=False),
            may_refuse=True,
        ),
    },
    "_server.route_table.RouteTable.match": {
        "segments": lambda n: lambda: ROUTES.match(["a"] * n),
        "escapes": lambda n: lambda: ROUTES.match(["threads", "%41" * n]),
    },
    "_server.router.Router.resolve": {
        "path": routed(lambda n: post(path="/a" * n)),
        "members": routed(lambda n: envelope(method="info", **{f"x{number}": number for number in range(n)})),
        "params": routed(lambda n: envelope(method="info", params={f"x{number}": "a&" for number in range(n)})),
        "body": routed(lambda n: envelope(method="agent/run", params={"agentId": "a"}, body=messages(n))),
        "unknown method": routed(lambda n: envelope(method={f"x{number}": number for number in range(n)})),
        "resource": routed(
            lambda n: envelope(method="resource/request", params={"path": "/threads" + "/a" * n, "httpMethod": "GET"})
        ),
        "graphql": routed(lambda n: post(JSON, json.dumps({"query": " " * n + "query " + "a" * n}).encode(), "/a")),
    },
    "_strict_json.loads": {
        "list": of(lambda n: b"[" + b"1," * n + b"1]", lambda data: loads(data)),
        "digits": of(lambda n: b"[" + (b"9" * 299 + b",") * n + b"1]", lambda data: loads(data)),
        "exponents": of(lambda n: b"[" + b"1e100," * n + b"1]", lambda data: loads(data)),
        "deep": of(lambda n: nested(n), lambda data: loads(data), may_refuse=True),
    },
    "_strict_json.loads_with_surrogates": {
        "halves": of(lambda n: b"[" + b'"\\ud83d",' * n + b"1]", lambda data: loads_with_surrogates(data)),
    },
    "_users.owner_key": {"long": of(lambda n: User(id='"' * n, tenant="\\" * n), lambda user: owner_key(user))},
    "agents._http.request.build_headers": {
        "fields": of(lambda n: dict(many_headers(n)), lambda headers: build_headers((), headers)),
    },
    "agents._http.request.encode_body": {"messages": of(lambda n: messages(n), lambda wire: encode_body(wire))},
    "agents._http.response.EventDecoder.feed": {
        "events": fed(lambda n: [b'data: {"type":"RAW"}\n\n' * n], lambda: EventDecoder(10**9)),
        "halves": fed(lambda n: [b'data: {"type":"RAW","event":"\\ud83d"}\n\n' * n], lambda: EventDecoder(10**9)),
    },
    "agents._http.sse.SseParser.feed": {
        "lines": fed(lambda n: [b"data: a\n" * n + b"\n"], sse),
        "line in pieces": fed(lambda n: [b"data: ", *[b"a"] * n, b"\n\n"], sse),
        "lines in pieces": fed(lambda n: [b"data: a\n"] * n, sse),
        "line ends": fed(lambda n: [b"\r\n" * n], sse),
        "line ends in pieces": fed(lambda n: [b"\r", b"\n"] * n, sse),
        "comments": fed(lambda n: [b": a\n" * n], sse),
    },
    "agents._interrupts.parse_resume_entries": {
        "entries": resumed(lambda at: {"interruptId": str(at), "status": "resolved", "payload": at}),
        "equal": resumed(lambda at: {"interruptId": "a", "status": "resolved", "payload": 1}),
        "contradictory": resumed(lambda at: {"interruptId": str(at // 2), "status": "resolved", "payload": at}),
        "invalid": resumed(lambda at: {"interruptId": at}),
    },
    "agents._interrupts.without_results": {
        "results": of(
            lambda n: (tool_messages(n), {str(number) for number in range(n)}), lambda both: without_results(*both)
        ),
    },
    "stores._pagination.paginate": {
        "threads": of(
            lambda n: thread_infos(n), lambda infos: paginate(infos, ThreadQuery(limit=10, cursor='[5.0,"a"]'))
        ),
    },
    "stores._pagination.parse_cursor": {
        "long": of(lambda n: "[" + "1," * n + "1]", lambda text: parse_cursor(text), may_refuse=True),
        "id": of(lambda n: json.dumps([1.0, "\n" * n]), lambda text: parse_cursor(text)),
        "digits": of(lambda n: "[" + "1" * n + ',"a"]', lambda text: parse_cursor(text), may_refuse=True),
    },
}

ROWS = [(name, what) for name, prepared in COSTS.items() for what in prepared]


@pytest.mark.parametrize(("name", "what"), ROWS, ids=[f"{name}-{what}" for name, what in ROWS])
def test_input_cost(name: str, what: str) -> None:
    assert_linear(COSTS[name][what])


# --- whole requests ----------------------------------------------------------------------


async def nothing(input: Any) -> Any:
    return
    yield


REQUESTS: Mapping[str, Callable[[int], dict[str, Any]]] = {
    "query": lambda n: {"query_string": "limit=2&" + "a=b&" * n},
    "cursor": lambda n: {"query_string": "cursor=" + "%5B" * n},
    "header fields": lambda n: {"headers": [*JSON.items(), *many_headers(n).multi_items()]},
    "last event id": lambda n: {"headers": {**JSON, "last-event-id": "1" * n}},
    "body of members": lambda n: {"body": run_body(**{f"x{number}": number for number in range(n)})},
    "body that is no object": lambda n: {"body": b"[" + b"1," * n + b"1]"},
    "body that is not JSON": lambda n: {"body": b"{" * n},
    "text": lambda n: {"body": json.dumps({"name": "\n" * n, "runId": "a" * n}).encode()},
}
BY_ENDPOINT = {(route.endpoint, method): route.pattern for route in reversed(ROUTES.routes) for method in route.methods}
PATHS = [
    (method, pattern.replace("{agent_id}", "a").replace("{thread_id}", "t").replace("{memory_id}", "m"))
    for (_, method), pattern in BY_ENDPOINT.items()
]


@pytest.mark.parametrize("what", REQUESTS)
@pytest.mark.parametrize(("method", "path"), PATHS, ids=[f"{method} {path}" for method, path in PATHS])
def test_input_cost_of_a_request(method: str, path: str, what: str) -> None:
    runtime = CopilotRuntime(agents={"a": nothing}, single_user=True, expose_memory_routes=True)
    handler = create_copilot_runtime_handler(runtime=runtime, cors=True)

    def prepare(size: int) -> Callable[[], object]:
        request = Request(method=method, path=path, **{"headers": JSON, **REQUESTS[what](size)})

        def respond() -> None:
            run_sync(handler(request)).close()

        return respond

    assert_linear(prepare, 40)


# --- the table -----------------------------------------------------------------------------


def public_functions(module: str) -> Iterator[str]:
    found = importlib.import_module(f"copilot_runtime.{module}")
    for name, member in vars(found).items():
        if name.startswith("_") or getattr(member, "__module__", None) != found.__name__:
            continue
        if inspect.isfunction(member):
            yield f"{module}.{name}"
        elif inspect.isclass(member):
            functions = [
                method
                for method, value in vars(member).items()
                if not method.startswith("_") and (inspect.isfunction(value) or isinstance(value, classmethod))
            ]
            yield from (f"{module}.{name}.{method}" for method in functions)


def test_input_costs_are_of_every_function_that_reads_input() -> None:
    public = {name for module in READING for name in public_functions(module)}
    assert public - set(COSTS) - set(ELSEWHERE) == set()
    assert not [name for name in COSTS if not name.startswith(READING)]
