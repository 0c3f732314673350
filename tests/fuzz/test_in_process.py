"""Generated input, through the pipeline and the adapters in this process: never a failure of ours.

The generated input is the same in every run, so that a failure can be reproduced.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from copilot_runtime import (
    CopilotHandler,
    CopilotRuntime,
    CorsConfig,
    EventStream,
    Headers,
    Request,
    Response,
    create_copilot_runtime_handler,
)
from copilot_runtime_asgi import to_asgi
from copilot_runtime_wsgi import to_wsgi

from ..fixtures import apps
from ..fixtures.security_apps import Echo, hello
from ..http_client import hello_input

pytestmark = pytest.mark.requirement("BODY-06")

BOUNDED = settings(
    max_examples=250,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
)

# --- what is generated ---------------------------------------------------------------

WORDS = (
    "info", "inspector-metadata", "inspector-learning", "transcribe", "cpk-debug-events", "agent", "hello", "run",
    "connect", "suggest", "stop", "threads", "subscribe", "messages", "events", "state", "archive", "clear", "memories",
    "recall", "annotate", "t", "%", "%ff", "%2F", "%00", "..", "", "caf%C3%A9", "café",
)  # fmt: skip
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "BREW", "")
ENVELOPE_METHODS = (
    "info", "agent/run", "agent/connect", "agent/suggest", "agent/stop", "transcribe", "inspector/metadata",
    "inspector/learning", "resource/request",
)  # fmt: skip
TYPES = (
    "application/json", "application/json; charset=utf-8", "text/plain", "multipart/form-data; boundary=b",
    "multipart/form-data", "application/x-www-form-urlencoded", "",
)  # fmt: skip

latin = st.text(st.characters(max_codepoint=255), max_size=30)
segments = st.sampled_from(WORDS) | st.text(max_size=10) | latin
paths = st.lists(segments, max_size=6).map(lambda some: "/" + "/".join(some))
queries = st.lists(
    st.sampled_from(("limit=", "cursor=", "agentId=", "includeArchived=", "&", "")).flatmap(
        lambda name: latin.map(lambda value: name + value)
    ),
    max_size=4,
).map("&".join)
fields = st.lists(
    st.tuples(st.just("content-type"), st.sampled_from(TYPES) | latin)
    | st.tuples(
        st.sampled_from(
            (
                "origin", "host", "x-forwarded-host", "sec-fetch-site", "cookie", "last-event-id", "content-length",
                "accept", "authorization", "x-a", "access-control-request-headers",
            )
        ),
        latin,
    ),
    max_size=5,
)  # fmt: skip
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
INPUT = hello_input("t", "r", state={}, forwardedProps={})
MEMBERS = (*INPUT, "resume", "parentRunId", "lastSeenEventId", "audio", "mimeType", "filename", "name", "archived")
ROLES = ("user", "assistant", "tool", "activity", "reasoning", "system", "developer", "nobody")
messages = st.fixed_dictionaries(
    {},
    optional={
        "id": st.sampled_from(("a", "b")) | scalars,
        "role": st.sampled_from(ROLES) | scalars,
        "content": values,
        "toolCalls": values,
        "toolCallId": scalars,
        "activityType": scalars,
    },
)


def changed(base: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """A body that is right but for some members."""
    changes = st.dictionaries(st.sampled_from(MEMBERS), values | st.lists(messages, max_size=3), max_size=3)
    return changes.map(lambda some: {**base, **some})


objects = changed(INPUT) | changed({}) | values
texts = objects.map(json.dumps)
params = (
    st.fixed_dictionaries(
        {},
        optional={
            "agentId": st.just("hello") | values,
            "threadId": st.just("t") | values,
            "path": paths | (st.tuples(paths, queries).map("?".join)) | values,
            "httpMethod": st.sampled_from(METHODS) | values,
        },
    )
    | values
)
envelopes = st.fixed_dictionaries(
    {"method": st.sampled_from(ENVELOPE_METHODS) | values},
    optional={"params": params, "body": objects | texts},
)


@st.composite
def damaged(draw: st.DrawFn, source: st.SearchStrategy[str]) -> bytes:
    """A text with some of its bytes cut out or replaced."""
    data = draw(source).encode("utf-8", "surrogatepass")
    start = draw(st.integers(0, len(data)))
    end = draw(st.integers(start, min(start + 8, len(data))))
    return data[:start] + draw(st.binary(max_size=4)) + data[end:]


encoded = (texts | envelopes.map(json.dumps)).map(str.encode)
bodies = encoded | damaged(texts) | damaged(envelopes.map(json.dumps)) | st.binary(max_size=60)
forms = st.lists(st.sampled_from((b"--b\r\n", b"--b--\r\n", b"\r\n", b"\r\n\r\n", b"content-disposition: form-data; ",
                                  b'name="audio"; filename="a"', b"content-type: ")) | st.binary(max_size=12),
                 max_size=12).map(b"".join)  # fmt: skip

requests = st.builds(
    lambda method, path, query, headers, body: Request(
        method=method, path=path, query_string=query, headers=Headers(headers), body=body
    ),
    st.sampled_from(METHODS) | st.just("POST"),
    paths,
    queries,
    fields,
    bodies | forms,
)

# --- the requests ------------------------------------------------------------------


def runtime() -> CopilotRuntime:
    return CopilotRuntime(
        agents={"hello": hello},
        transcription_service=Echo(),
        single_user=True,
        expose_memory_routes=True,
        shutdown_grace_seconds=1,
    )


def handler(mode: str, cors: bool | CorsConfig = False) -> CopilotHandler:
    return create_copilot_runtime_handler(runtime=runtime(), mode=mode, cors=cors)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    """One loop for everything: runs outlive their requests."""
    with asyncio.Runner() as runner:
        yield runner


AUTO, MULTI, SINGLE = handler("auto"), handler("multi-route", cors=True), handler("single-route")
NAMED = handler("auto", cors=CorsConfig(allow_origins=("https://a.example",), allow_credentials=True))


def is_clear(response: Response) -> None:
    """A stream, a success, or a refusal in JSON that says why."""
    assert response.status < 500, response
    assert "error" not in str(response.headers.get("content-type"))
    for name, value in response.wire_headers():
        value.encode("latin-1")
        assert "\r" not in value
        assert "\n" not in value
        assert name == name.lower()
    if response.status >= 400:
        assert isinstance(response.body, bytes)
        assert response.headers["content-type"] == "application/json"
        said = json.loads(response.body)["error"]
        assert isinstance(said, str)
        assert said


async def answer(handler: CopilotHandler, request: Request) -> None:
    response = await handler(request)
    try:
        is_clear(response)
        if isinstance(response.body, EventStream):
            shown = b"".join([chunk async for chunk in response.body])
            # Whatever the input was, nothing about it is this agent's failure.
            assert b'"RUN_ERROR"' not in shown or b"connect" in request.path.encode("utf-8", "replace"), shown
    finally:
        response.close()


@BOUNDED
@given(request=requests)
@pytest.mark.parametrize("which", [AUTO, MULTI, SINGLE, NAMED], ids=["auto", "multi-route", "single-route", "named"])
def test_fuzz_any_request(runner: asyncio.Runner, which: CopilotHandler, request: Request) -> None:
    runner.run(answer(which, request))


ROUTES = (
    ("POST", "/agent/hello/run"), ("POST", "/agent/hello/connect"), ("POST", "/agent/hello/suggest"),
    ("POST", "/agent/hello/stop/t"), ("POST", "/transcribe"), ("PATCH", "/threads/t"), ("POST", "/"), ("POST",
    "/nothing"),
)  # fmt: skip


@BOUNDED
@given(body=bodies)
@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_fuzz_any_body(runner: asyncio.Runner, method: str, path: str, body: bytes) -> None:
    json_body = Headers({"content-type": "application/json"})
    runner.run(answer(AUTO, Request(method=method, path=path, headers=json_body, body=body)))


@BOUNDED
@given(envelope=envelopes)
def test_fuzz_any_single_route_envelope(runner: asyncio.Runner, envelope: dict[str, Any]) -> None:
    request = Request(
        method="POST",
        path="/",
        headers=Headers({"content-type": "application/json"}),
        body=json.dumps(envelope).encode(),
    )
    runner.run(answer(SINGLE, request))


@BOUNDED
@given(body=forms, kind=st.sampled_from(TYPES) | latin)
def test_fuzz_any_transcribe_upload(runner: asyncio.Runner, body: bytes, kind: str) -> None:
    headers = Headers({"content-type": kind})
    runner.run(answer(AUTO, Request(method="POST", path="/transcribe", headers=headers, body=body)))


@BOUNDED
@given(query=queries)
def test_fuzz_any_threads_list_query(runner: asyncio.Runner, query: str) -> None:
    runner.run(answer(AUTO, Request(method="GET", path="/threads", query_string=query)))


# --- through the adapters, with what servers could hand on ---------------------------


class Input:
    def __init__(self, data: bytes) -> None:
        self.data = data

    def read(self, size: int = -1) -> bytes:
        size = len(self.data) if size < 0 else size
        chunk, self.data = self.data[:size], self.data[size:]
        return chunk


ENVIRONS: Mapping[str, Any] = {
    "wsgi": to_wsgi(handler("auto")),
    "flask": apps.flask([apps.Mounted("", {"runtime": runtime()})]),
}
"""Django, of which a process can have only one, gets malformed HTTP in `test_input_validation`, on its servers."""


@pytest.mark.parametrize("adapter", ENVIRONS)
@BOUNDED
@given(
    path=latin.map(lambda text: "/" + text) | paths.map(lambda text: text.encode().decode("latin-1")),
    mount=st.sampled_from(("", "/mount", "/m%20", "/mö")),
    raw=st.none() | latin | paths,
    query=latin,
    method=st.sampled_from(METHODS),
    headers=st.dictionaries(st.sampled_from(("HTTP_ORIGIN", "HTTP_HOST", "CONTENT_TYPE", "HTTP_COOKIE")), latin),
    length=st.none() | st.integers(-5, 100).map(str) | latin,
    body=bodies,
)
def test_fuzz_any_wsgi_environ(
    adapter: str,
    path: str,
    mount: str,
    raw: str | None,
    query: str,
    method: str,
    headers: dict[str, str],
    length: str | None,
    body: bytes,
) -> None:
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": mount,
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "wsgi.url_scheme": "http",
        "wsgi.errors": sys.stderr,
        "wsgi.input": Input(body),
        "wsgi.input_terminated": True,
        **headers,
    }
    if raw is not None:
        environ["RAW_URI"] = raw
    if length is not None:
        environ["CONTENT_LENGTH"] = length
    said: list[str] = []
    result = ENVIRONS[adapter](environ, lambda status, headers, exc_info=None: said.append(status))
    try:
        for _ in result:
            pass
    finally:
        getattr(result, "close", lambda: None)()
    assert said
    assert int(said[0].split()[0]) < 500, said


ASGI = to_asgi(handler("auto"))


@BOUNDED
@given(
    path=st.text(max_size=20).map(lambda text: "/" + text) | paths,
    mount=st.sampled_from(("", "/mount", "/mö")),
    raw=st.none() | latin.map(lambda text: text.encode("latin-1")) | st.binary(max_size=20),
    query=st.binary(max_size=20),
    method=st.sampled_from(METHODS),
    headers=st.lists(
        st.tuples(st.sampled_from((b"origin", b"host", b"content-type", b"cookie")), st.binary(max_size=20))
    ),
    chunks=st.lists(bodies, max_size=3),
)
def test_fuzz_any_asgi_scope(
    runner: asyncio.Runner,
    path: str,
    mount: str,
    raw: bytes | None,
    query: bytes,
    method: str,
    headers: list[tuple[bytes, bytes]],
    chunks: list[bytes],
) -> None:
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "root_path": mount,
        "raw_path": raw,
        "query_string": query,
        "headers": headers,
    }
    parts = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    incoming = iter([*parts, {"type": "http.request"}])
    sent: list[dict[str, Any]] = []

    async def receive() -> Any:
        message = next(incoming, None)
        if message is None:
            await asyncio.Event().wait()
        return message

    async def send(message: Any) -> None:
        sent.append(message)

    runner.run(ASGI(scope, receive, send))
    assert sent[0]["status"] < 500, sent
