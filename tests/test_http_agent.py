"""`HttpAgent` against a real server on a socket, one that can misbehave in every way."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import httpx2
import pytest
from ag_ui.core import RunAgentInput

from copilot_runtime import CopilotRuntime, User
from copilot_runtime.agents._context import RunContext
from copilot_runtime.agents._http.clients import loop_local_http_client
from copilot_runtime.agents._http.errors import to_upstream_error
from copilot_runtime.agents._http_agent import HttpAgent
from copilot_runtime.middleware import use
from copilot_runtime.testing import AsyncTestClient

STARTED = {"type": "RUN_STARTED", "threadId": "t", "runId": "r"}
FINISHED = {"type": "RUN_FINISHED", "threadId": "t", "runId": "r"}
CUSTOM = {"type": "CUSTOM", "name": "größe", "value": {"nested": [None, 1.5, "€"]}}

BODY: dict[str, Any] = {
    "threadId": "t",
    "runId": "r",
    "messages": [
        {"id": "u1", "role": "user", "content": "hello"},
        {"id": "a1", "role": "activity", "activityType": "PLAN", "content": {}},
    ],
    "tools": [],
    "context": [],
    "state": {"count": 1},
    "forwardedProps": {},
}


def frames(*events: Any) -> bytes:
    return b"".join(b"data: " + json.dumps(event, ensure_ascii=False).encode() + b"\n\n" for event in events)


# --- the remote --------------------------------------------------------------


@dataclasses.dataclass
class Exchange:
    """One request that the remote has read, and the means to answer it."""

    line: str
    fields: list[tuple[str, str]]
    body: bytes
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def header(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key.lower() == name]

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def head(self, status: str = "200 OK", kind: str = "text/event-stream", *more: str) -> None:
        await self.send("\r\n".join((f"HTTP/1.1 {status}", f"content-type: {kind}", *more, "", "")).encode())

    async def chunk(self, data: bytes) -> None:
        await self.send(b"%x\r\n%b\r\n" % (len(data), data))

    async def until_closed(self) -> None:
        """Waits until the client has closed the connection."""
        try:
            while await self.reader.read(1024):
                pass
        except ConnectionError:
            pass


Script = Callable[[Exchange], Awaitable[None]]


class Remote:
    """A server that answers the n-th request by the n-th script, later ones by the last.

    A connection is closed when its script returns, unless the script has set ``reuse``.
    """

    def __init__(self, *scripts: Script) -> None:
        self.scripts = scripts
        self.seen: list[Exchange] = []
        self.connections: dict[asyncio.Task[Any], asyncio.StreamWriter] = {}
        self.reuse = False
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.connections[task] = writer
        try:
            while head := await self._head(reader):
                line, *rest = head.decode("latin-1").split("\r\n")
                fields = [(name, value) for name, _, value in (line.partition(": ") for line in rest if line)]
                exchange = Exchange(line, fields, b"", reader, writer)
                exchange.body = await reader.readexactly(int(exchange.header("content-length")[0]))
                script = self.scripts[min(len(self.seen), len(self.scripts) - 1)]
                self.seen.append(exchange)
                await script(exchange)
                if not self.reuse:
                    return
        finally:
            writer.close()

    async def close(self) -> None:
        for writer in self.connections.values():
            writer.transport.abort()
        await asyncio.gather(*self.connections)

    async def _head(self, reader: asyncio.StreamReader) -> bytes:
        try:
            return await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return b""


def at_once(*events: Any) -> Script:
    async def script(exchange: Exchange) -> None:
        await exchange.head()
        await exchange.send(frames(*events))

    return script


def raw(data: bytes, kind: str = "text/event-stream", status: str = "200 OK", *more: str) -> Script:
    async def script(exchange: Exchange) -> None:
        await exchange.head(status, kind, *more)
        await exchange.send(data)

    return script


@asynccontextmanager
async def remote(*scripts: Script) -> AsyncIterator[Remote]:
    it = Remote(*scripts)
    server = await asyncio.start_server(it.serve, "127.0.0.1", 0)
    it.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/agent"
    try:
        yield it
    finally:
        server.close()
        await it.close()


_lent: list[Any] = []


def lent(client: Any) -> Any:
    """A client that is ours to close."""
    _lent.append(client)
    return client


def run(main: Callable[[], Awaitable[None]]) -> None:
    """Runs a test on a loop of its own, which must not have had anything to complain of."""
    complaints: list[dict[str, Any]] = []

    async def watched() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        try:
            async with asyncio.timeout(30):
                await main()
        finally:
            while _lent:
                await _lent.pop().aclose()

    asyncio.run(watched())
    assert complaints == []


# --- the agent ---------------------------------------------------------------

CLIENTS: dict[str, Any] = {
    "own": lambda: None,
    "httpx2": lambda: lent(httpx2.AsyncClient()),
    "httpx": lambda: lent(httpx.AsyncClient()),
    "httpx2-factory": lambda: httpx2.AsyncClient,
    "httpx-factory": lambda: lambda: httpx.AsyncClient(http1=True),
}


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest) -> Any:
    """What makes the ``client`` argument; to be called inside the loop."""
    return CLIENTS[request.param]


def context(headers: dict[str, str] | None = None, **body: Any) -> RunContext:
    return RunContext(headers=headers or {}, body={**BODY, **body})


def given() -> RunAgentInput:
    return RunAgentInput.model_validate(BODY)


async def collect(
    agent: HttpAgent, with_context: RunContext | None = None, input: RunAgentInput | None = None
) -> list[dict[str, Any]]:
    return [event async for event in agent.run(input or given(), with_context or context())]


def error(code: str, message: str) -> dict[str, Any]:
    return {"type": "RUN_ERROR", "message": message, "code": code}


BROKEN_OFF = error("UPSTREAM_BROKEN_STREAM", "The connection to the upstream agent was lost.")
MID_EVENT = error("UPSTREAM_BROKEN_STREAM", "The upstream agent's stream ended in the middle of an event.")
TOO_EARLY = error("UPSTREAM_BROKEN_STREAM", "The upstream agent's stream ended before the run did.")
NO_JSON = error("UPSTREAM_MALFORMED_EVENT", "The upstream agent sent an event that is not JSON.")
NO_TYPE = error("UPSTREAM_MALFORMED_EVENT", "The upstream agent sent an event without a type.")
NO_STREAM = error("UPSTREAM_WRONG_CONTENT_TYPE", "The upstream agent did not respond with an event stream.")
NOT_SENT = error("UPSTREAM_BAD_REQUEST", "The request to the upstream agent could not be sent.")
REFUSED = error("UPSTREAM_UNREACHABLE", "The upstream agent could not be reached.")
SILENT = error("UPSTREAM_TIMEOUT", "The upstream agent sent nothing for too long.")


def status(code: int) -> dict[str, Any]:
    return error("UPSTREAM_HTTP_ERROR", f"The upstream agent responded with HTTP status {code}.")


# --- what goes right ---------------------------------------------------------


@pytest.mark.requirement("AGENT-01")
def test_http_agent_passes_events_on_unchanged(client: Any) -> None:
    async def main() -> None:
        async with remote(at_once(STARTED, CUSTOM, FINISHED)) as upstream:
            assert await collect(HttpAgent(upstream.url, client=client())) == [STARTED, CUSTOM, FINISHED]

    run(main)


@pytest.mark.requirement("AGENT-01")
def test_http_agent_streams_each_event_as_it_arrives(client: Any) -> None:
    async def main() -> None:
        gates = [asyncio.Event() for _ in range(3)]

        async def script(exchange: Exchange) -> None:
            await exchange.head()
            for event, gate in zip((STARTED, CUSTOM, FINISHED), gates, strict=True):
                await exchange.send(frames(event))
                await gate.wait()

        async with remote(script) as upstream:
            seen = []
            async for event in HttpAgent(upstream.url, client=client()).run(given(), context()):
                seen.append(event)
                gates[len(seen) - 1].set()
            assert seen == [STARTED, CUSTOM, FINISHED]

    run(main)


@pytest.mark.requirement("AGENT-01")
def test_http_agent_reads_events_split_at_any_byte() -> None:
    async def main() -> None:
        async def script(exchange: Exchange) -> None:
            await exchange.head("200 OK", "text/event-stream; charset=utf-8", "transfer-encoding: chunked")
            data = b"\xef\xbb\xbf: hello\r\n" + frames(STARTED, CUSTOM, FINISHED).replace(b"\n", b"\r\n")
            for index in range(len(data)):
                await exchange.chunk(data[index : index + 1])
            await exchange.chunk(b"")

        async with remote(script) as upstream:
            assert await collect(HttpAgent(upstream.url)) == [STARTED, CUSTOM, FINISHED]

    run(main)


@pytest.mark.requirement("EVENT-04")
@pytest.mark.parametrize("is_escaped", [True, False], ids=["escaped", "raw"])
def test_http_agent_a_character_cut_in_two_is_joined(is_escaped: bool) -> None:
    """Servers in JavaScript send the halves as escapes; others, as bytes that are not UTF-8."""
    text = [
        {"type": "TEXT_MESSAGE_START", "messageId": "m", "role": "assistant"},
        {"type": "TEXT_MESSAGE_CONTENT", "messageId": "m", "delta": "a\ud83d"},
        {"type": "TEXT_MESSAGE_CONTENT", "messageId": "m", "delta": "\ude00b"},
        {"type": "TEXT_MESSAGE_END", "messageId": "m"},
    ]
    lines = [json.dumps(event, ensure_ascii=is_escaped) for event in (STARTED, *text, FINISHED)]
    body = "".join(f"data: {line}\n\n" for line in lines).encode("utf-8", "surrogatepass")

    async def main() -> None:
        async with remote(raw(body)) as upstream:
            runtime = CopilotRuntime(agents={"a": HttpAgent(upstream.url)})
            async with AsyncTestClient(runtime) as client:
                result = await client.run("a", "hi", thread_id="t")
                replayed = await client.connect("a", thread_id="t")
        assert [event.get("delta") for event in result.events] == [None, None, "a", "\U0001f600b", None, None]
        assert replayed.messages[-1]["content"] == "a\U0001f600b"

    run(main)


@pytest.mark.parametrize("body", [b'data: {"type": NaN}\n\n', b"data: \xff\n\n", b"data: " + b"[" * 100_000 + b"\n\n"])
def test_http_agent_event_that_is_not_json(body: bytes) -> None:
    async def main() -> None:
        async with remote(raw(body)) as upstream:
            assert await collect(HttpAgent(upstream.url)) == [NO_JSON]

    run(main)


@pytest.mark.requirement("AGENT-01")
def test_http_agent_passes_on_a_run_error_of_the_server() -> None:
    async def main() -> None:
        says_no = {"type": "RUN_ERROR", "message": "no", "code": "MINE"}
        async with remote(at_once(STARTED, says_no)) as upstream:
            assert await collect(HttpAgent(upstream.url)) == [STARTED, says_no]

    run(main)


@pytest.mark.requirement("AGENT-01")
def test_http_agent_reuses_its_connection(client: Any) -> None:
    async def main() -> None:
        async def script(exchange: Exchange) -> None:
            data = frames(STARTED, FINISHED)
            await exchange.head("200 OK", "text/event-stream", f"content-length: {len(data)}")
            await exchange.send(data)

        async with remote(script) as upstream:
            upstream.reuse = True
            agent = HttpAgent(upstream.url, client=client())
            await collect(agent)
            await collect(agent)
            assert (len(upstream.seen), len(upstream.connections)) == (2, 1)

    run(main)


# --- what is sent ------------------------------------------------------------


@pytest.mark.requirement("AGENT-07")
@pytest.mark.parametrize(
    ("allowed", "sent"),
    [
        (None, {"command": {}, "city": "Rome"}),
        (["nodeName", "city"], {"nodeName": "n", "city": "Rome"}),
    ],
)
def test_http_agent_forwarded_props_may_not_name_a_node(allowed: Any, sent: dict[str, Any]) -> None:
    props = {"nodeName": "n", "node_name": "n", "command": {}, "city": "Rome"}

    async def main() -> None:
        async with remote(at_once(STARTED, FINISHED)) as upstream:
            agent = HttpAgent(upstream.url, allowed_forwarded_props=allowed)
            for forwarded in (props, {}):
                await collect(agent, input=given().model_copy(update={"forwarded_props": forwarded}))
            bodies = [json.loads(exchange.body)["forwardedProps"] for exchange in upstream.seen]
            assert bodies == [sent, {}]

    run(main)


@pytest.mark.requirement("AGENT-07")
def test_http_agent_thread_of_another_user_is_another_thread_of_the_remote() -> None:
    """The remote may remember the thread, and cannot know whose id the client has sent."""

    async def echo(exchange: Exchange) -> None:
        body = json.loads(exchange.body)
        started = {"type": "RUN_STARTED", "threadId": body["threadId"], "runId": "r", "input": body}
        await exchange.head()
        await exchange.send(frames(started, {**FINISHED, "threadId": body["threadId"]}))

    async def main() -> None:
        async with remote(echo) as upstream:
            ids = {}
            for scope in (True, False):
                agent = HttpAgent(upstream.url, scope_thread_ids=scope)
                for user in (User("ann"), User("bob"), User("ann", tenant="acme"), None):
                    started, finished = await collect(agent, dataclasses.replace(context(), user=user))
                    assert {started["threadId"], started["input"]["threadId"], finished["threadId"]} == {"t"}
                    ids[scope, user] = json.loads(upstream.seen[-1].body)["threadId"]
            assert len({ids[True, user] for _, user in ids}) == 4
            assert ids[True, User("ann")] == HttpAgent(upstream.url).remote_thread_id("t", User("ann"))
            assert ids[True, None] == "t"
            assert {ids[False, user] for _, user in ids} == {"t"}

    run(main)


async def sent(agent_headers: Any = None, with_context: RunContext | None = None, client: Any = None) -> Exchange:
    async with remote(at_once(STARTED, FINISHED)) as upstream:
        agent = HttpAgent(upstream.url, headers=agent_headers, client=client)
        events = [event async for event in agent.run(given(), with_context)]
        assert events == [STARTED, FINISHED]
        return upstream.seen[0]


@pytest.mark.requirement("AGENT-01")
def test_http_agent_request(client: Any) -> None:
    async def main() -> None:
        exchange = await sent(with_context=context(), client=client())
        assert exchange.line == "POST /agent HTTP/1.1"
        assert exchange.header("accept") == ["text/event-stream"]
        assert exchange.header("content-type") == ["application/json"]
        assert exchange.header("accept-encoding") == ["identity"]

    run(main)


async def sent_by(make_agent: Callable[[HttpAgent], Any], body: dict[str, Any], **headers: str) -> Exchange:
    """Returns the request that the remote gets for a run of a client with this input."""
    async with remote(at_once(STARTED, FINISHED)) as upstream:
        runtime = CopilotRuntime(agents={"a": make_agent(HttpAgent(upstream.url))})
        async with AsyncTestClient(runtime, headers=headers) as client:
            members = ("threadId", "runId", "messages", "tools", "context", "state", "forwardedProps")
            more = {name: value for name, value in body.items() if name not in members}
            await client.run("a", body["messages"], thread_id="t", run_id="r", state=body["state"], extra=more)
            return upstream.seen[0]


@pytest.mark.requirement("AGENT-01")
def test_http_agent_sends_the_original_body_with_unknown_members() -> None:
    async def main() -> None:
        more = {"future": {"x": [None]}, "parentRunId": "p"}
        message = {**BODY["messages"][0], "unknown": {"n": None}, "old": None}
        exchange = await sent_by(lambda agent: agent, {**BODY, **more, "messages": [message, BODY["messages"][1]]})
        assert json.loads(exchange.body) == {**BODY, **more, "messages": [message]}

    run(main)


@pytest.mark.requirement("AGENT-01")
@pytest.mark.parametrize("with_context", [None, RunContext(), RunContext(body={**BODY, "state": {"old": True}})])
def test_http_agent_sends_the_input_that_it_is_called_with(with_context: RunContext | None) -> None:
    async def main() -> None:
        exchange = await sent(with_context=with_context)
        assert json.loads(exchange.body) == {**BODY, "messages": BODY["messages"][:1]}

    run(main)


class _TrimmingSubclass(HttpAgent):
    async def run(self, input: RunAgentInput, context: RunContext | None = None) -> Any:
        async for event in super().run(_trimmed(input), context):
            yield event


def _trimmed(input: RunAgentInput) -> RunAgentInput:
    return input.model_copy(update={"messages": input.messages[-1:], "state": {"count": None}})


def _wrapped_copying(agent: HttpAgent) -> Any:
    def wrapper(input: RunAgentInput, context: RunContext) -> Any:
        return agent.run(_trimmed(input), context)

    return wrapper


def _wrapped_in_place(agent: HttpAgent) -> Any:
    def wrapper(input: RunAgentInput, context: RunContext) -> Any:
        del input.messages[:-1]
        input.messages[0].content = "last"
        input.state["count"] = None
        return agent.run(input, context)

    return wrapper


def _patched(agent: HttpAgent) -> Any:
    run = agent.run
    agent.run = lambda input, context=None: run(_trimmed(input), context)  # type: ignore[method-assign]
    return agent


def _with_middleware(agent: HttpAgent) -> Any:
    async def trim(input: Any, next: Any) -> AsyncIterator[Any]:
        async for event in next(_trimmed(input)):
            yield event

    return use(agent, trim)


def _with_middleware_in_place(agent: HttpAgent) -> Any:
    def trim(input: Any, next: Any) -> Any:
        del input.messages[:-1]
        input.state["count"] = None
        return next(input)

    return use(agent, trim)


@pytest.mark.requirement("AGENT-01", "MIDDLEWARE-02")
@pytest.mark.parametrize(
    "make_agent",
    [
        _wrapped_copying,
        _wrapped_in_place,
        lambda agent: _TrimmingSubclass(agent.url),
        _patched,
        _with_middleware,
        _with_middleware_in_place,
    ],
    ids=["copy", "in-place", "subclass", "patched", "middleware", "middleware-in-place"],
)
def test_http_agent_sends_the_input_that_a_wrapper_has_changed(make_agent: Any) -> None:
    """With the user's headers, and with members that AG-UI's models do not know."""

    async def main() -> None:
        messages = [{"id": "m0", "role": "user", "content": "secret"}, {"id": "m1", "role": "user", "content": "last"}]
        messages[1]["unknown"] = "x"
        body = {**BODY, "messages": messages, "future": {"x": [None]}}
        exchange = await sent_by(make_agent, body, authorization="Bearer user")
        assert exchange.header("authorization") == ["Bearer user"]
        assert json.loads(exchange.body) == {**body, "messages": messages[1:], "state": {"count": None}}

    run(main)


@pytest.mark.requirement("AGENT-01")
def test_http_agent_fills_in_members_that_older_servers_require() -> None:
    async def main() -> None:
        async with remote(at_once(STARTED, FINISHED)) as upstream:
            lean = RunAgentInput.model_construct(thread_id="t", run_id="r", messages=[], state=None)
            assert [event async for event in HttpAgent(upstream.url).run(lean)] == [STARTED, FINISHED]
            filled = {"state": {}, "tools": [], "context": [], "forwardedProps": {}}
            expected = {"threadId": "t", "runId": "r", "messages": [], **filled}
            assert json.loads(upstream.seen[0].body) == expected

    run(main)


def test_forward_headers_to_an_http_agent_whose_own_headers_win(client: Any) -> None:
    async def main() -> None:
        own = {"Authorization": "Bearer server", "X-Own": "yes"}
        forwarded = {"authorization": "Bearer user", "x-own": "no", "x-tenant": "größe", "cookie": "a=b"}
        exchange = await sent(own, context(forwarded), client())
        assert exchange.header("authorization") == ["Bearer server"]
        assert exchange.header("x-own") == ["yes"]
        assert exchange.header("x-tenant") == ["größe"]
        assert exchange.header("cookie") == ["a=b"]
        assert ("X-Own", "yes") in exchange.fields

    run(main)


@pytest.mark.requirement("AGENT-01")
def test_http_agent_headers_keep_the_first_of_two_spellings() -> None:
    async def main() -> None:
        exchange = await sent((("X-Dup", "first"), ("x-dup", "second")))
        assert exchange.header("x-dup") == ["first"]

    run(main)


@pytest.mark.requirement("FORWARD-04")
@pytest.mark.parametrize(
    "name",
    [
        "accept",
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ],
)
def test_forward_headers_leaves_hop_by_hop_headers_out(name: str) -> None:
    async def main() -> None:
        exchange = await sent(with_context=context({name: "theirs", name.title(): "theirs"}))
        assert "theirs" not in exchange.header(name)

    run(main)


@pytest.mark.requirement("AGENT-01")
def test_http_agent_credentials_in_the_url_are_sent_and_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with remote(raw(b"", status="503 Busy")) as upstream:
            url = upstream.url.replace("//", "//user:secret@") + "?key=hidden"
            assert await collect(HttpAgent(url)) == [status(503)]
            assert upstream.seen[0].header("authorization") == ["Basic dXNlcjpzZWNyZXQ="]

    with caplog.at_level(logging.WARNING, "copilot_runtime"):
        run(main)
    assert "/agent" in caplog.text
    assert "secret" not in caplog.text
    assert "hidden" not in caplog.text


@pytest.mark.requirement("AGENT-01")
def test_http_agent_keeps_no_cookies_between_runs() -> None:
    async def main() -> None:
        script = raw(frames(STARTED, FINISHED), "text/event-stream", "200 OK", "set-cookie: session=one; Path=/")
        async with remote(script) as upstream:
            agent = HttpAgent(upstream.url)
            await collect(agent)
            await collect(agent)
            assert upstream.seen[1].header("cookie") == []

    run(main)


# --- what goes wrong ---------------------------------------------------------


async def _closes_before_answering(exchange: Exchange) -> None:
    pass


async def _resets(exchange: Exchange) -> None:
    await exchange.head()
    await exchange.send(frames(STARTED))
    # Unread data and no lingering turn the close into a reset.
    exchange.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    exchange.writer.transport.abort()


async def _no_http(exchange: Exchange) -> None:
    await exchange.send(b"SSH-2.0-OpenSSH\r\n\r\n")


def _chunked(*chunks: bytes) -> Script:
    async def script(exchange: Exchange) -> None:
        await exchange.head("200 OK", "text/event-stream", "transfer-encoding: chunked")
        for chunk in chunks:
            await exchange.chunk(chunk)
        await exchange.send(b"5\r\nda")

    return script


FAILURES = [
    pytest.param(_closes_before_answering, [BROKEN_OFF], id="closes before answering"),
    pytest.param(_no_http, [BROKEN_OFF], id="speaks no HTTP"),
    pytest.param(_resets, [STARTED, BROKEN_OFF], id="resets the connection"),
    pytest.param(_chunked(frames(STARTED)), [STARTED, BROKEN_OFF], id="breaks off a chunk"),
    pytest.param(raw(frames(STARTED) + b'data: {"ty'), [STARTED, MID_EVENT], id="ends in an event"),
    pytest.param(
        raw(frames(STARTED) + b'data: {"type": "X"}\n'), [STARTED, MID_EVENT], id="ends before the blank line"
    ),
    pytest.param(at_once(STARTED, CUSTOM), [STARTED, CUSTOM, TOO_EARLY], id="ends before the run"),
    pytest.param(at_once(STARTED, FINISHED, STARTED), [STARTED, FINISHED, STARTED, TOO_EARLY], id="ends a second run"),
    pytest.param(at_once(), [TOO_EARLY], id="sends nothing"),
    pytest.param(raw(frames(STARTED) + b"data: {]\n\n" + frames(FINISHED)), [STARTED, NO_JSON], id="no JSON"),
    pytest.param(raw(b"data: \xff\n\n"), [NO_JSON], id="no UTF-8"),
    pytest.param(raw(b'data: {"type": "CUSTOM", "value": NaN}\n\n'), [NO_JSON], id="NaN"),
    pytest.param(raw(b"data:" + b"[" * 100_000 + b"\n\n"), [NO_JSON], id="deep nesting"),
    pytest.param(raw(b"data:\n\n"), [NO_JSON], id="an empty event"),
    pytest.param(at_once(STARTED, [1, 2]), [STARTED, NO_TYPE], id="a list"),
    pytest.param(at_once(STARTED, {"kind": "x"}), [STARTED, NO_TYPE], id="no type"),
    pytest.param(at_once({"type": 5}), [NO_TYPE], id="a number for a type"),
    pytest.param(raw(b"<html>", kind="text/html"), [NO_STREAM], id="a page"),
    pytest.param(raw(b"{}", kind="application/json"), [NO_STREAM], id="JSON"),
    pytest.param(raw(b"oh no", status="500 Oh"), [status(500)], id="500"),
    pytest.param(raw(b"{}", status="422 No", kind="application/json"), [status(422)], id="422"),
    pytest.param(raw(b"", "text/plain", "307 There", "location: /elsewhere"), [status(307)], id="307"),
    pytest.param(
        raw(b"not gzip", "text/event-stream", "200 OK", "content-encoding: gzip"),
        [error("UPSTREAM_BROKEN_STREAM", "The upstream agent's stream could not be decompressed.")],
        id="not compressed as it says",
    ),
]


@pytest.mark.requirement("AGENT-01")
@pytest.mark.parametrize(("script", "expected"), FAILURES)
def test_http_agent_failures_have_a_run_error_code(client: Any, script: Script, expected: list[Any]) -> None:
    async def main() -> None:
        async with remote(script) as upstream:
            assert await collect(HttpAgent(upstream.url, client=client())) == expected

    run(main)


@pytest.mark.requirement("AGENT-01")
def test_http_agent_connection_refused(client: Any) -> None:
    async def main() -> None:
        with socket.socket() as bound_but_deaf:
            bound_but_deaf.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{bound_but_deaf.getsockname()[1]}/"
            assert await collect(HttpAgent(url, client=client())) == [REFUSED]

    run(main)


@pytest.mark.requirement("AGENT-01")
def test_http_agent_has_timeouts_by_default() -> None:
    """Ten seconds to connect, and ten minutes of silence, as the SDKs of model providers have it."""

    class Client:
        timeout: Any = None

        def stream(self, *arguments: Any, timeout: Any, **options: Any) -> Any:
            self.timeout = timeout
            raise httpx2.ConnectTimeout("")

        async def aclose(self) -> None: ...

    async def main() -> None:
        client = Client()
        await collect(HttpAgent("http://agents.example/", client=client))
        assert client.timeout == (10.0, 600.0, 600.0, 10.0)  # connect, read, write, pool

    run(main)


@pytest.mark.requirement("AGENT-01")
@pytest.mark.parametrize("before", [(), (STARTED,)])
def test_http_agent_read_timeout(client: Any, before: tuple[Any, ...]) -> None:
    async def main() -> None:
        async def script(exchange: Exchange) -> None:
            if before:
                await exchange.head()
                await exchange.send(frames(*before))
            await exchange.until_closed()

        async with remote(script) as upstream:
            agent = HttpAgent(upstream.url, client=client(), read_timeout_seconds=0.05)
            assert await collect(agent) == [*before, SILENT]

    run(main)


@pytest.mark.requirement("AGENT-01")
def test_http_agent_max_event_bytes() -> None:
    async def main() -> None:
        large = {"type": "CUSTOM", "name": "x", "value": "x" * 1000}
        async with remote(at_once(STARTED, large, FINISHED)) as upstream:
            expected = error("UPSTREAM_EVENT_TOO_LARGE", "The upstream agent sent an event that is too large.")
            assert await collect(HttpAgent(upstream.url, max_event_bytes=1000)) == [STARTED, expected]

    run(main)


@pytest.mark.requirement("AGENT-01")
@pytest.mark.parametrize("value", ["line\nbreak", "nul\0", "snow \u2603"])
def test_http_agent_header_that_cannot_be_sent(client: Any, value: str) -> None:
    async def main() -> None:
        async with remote(at_once(STARTED, FINISHED)) as upstream:
            agent = HttpAgent(upstream.url, client=client())
            assert await collect(agent, context({"x-tenant": value})) == [NOT_SENT]
            assert upstream.seen == []

    run(main)


@pytest.mark.requirement("AGENT-01")
@pytest.mark.parametrize("end", [FINISHED, {"type": "RUN_ERROR", "message": "no"}])
def test_http_agent_ignores_failures_after_the_terminal_event(end: Any) -> None:
    scripts = [
        _chunked(frames(STARTED, end)),
        raw(frames(STARTED, end) + b"data: ]"),
        raw(frames(STARTED, end) + b"data: ]\n\n"),
    ]

    async def main() -> None:
        async with remote(*scripts) as upstream:
            agent = HttpAgent(upstream.url)
            assert [await collect(agent) for _ in scripts] == [[STARTED, end]] * 3

    run(main)


@pytest.mark.requirement("AGENT-01")
def test_http_agent_passes_on_events_after_the_terminal_event() -> None:
    async def main() -> None:
        async with remote(at_once(STARTED, FINISHED, CUSTOM)) as upstream:
            assert await collect(HttpAgent(upstream.url)) == [STARTED, FINISHED, CUSTOM]

    run(main)


@pytest.mark.requirement("RUN-13", "AGENT-01")
def test_http_agent_causes_are_logged_and_not_sent(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with remote(raw(b"token sk-secret has expired", status="500 Oh")) as upstream:
            assert await collect(HttpAgent(upstream.url)) == [status(500)]

    with caplog.at_level(logging.WARNING, "copilot_runtime.agents.http"):
        run(main)
    assert "token sk-secret has expired" in caplog.text


@pytest.mark.requirement("RUN-13", "AGENT-01")
def test_http_agent_causes_are_sent_with_debug() -> None:
    async def main() -> None:
        async with remote(raw(b"token sk-secret has expired", status="500 Oh")) as upstream:
            event = (await collect(HttpAgent(upstream.url, debug=True)))[0]
            assert event["message"] == f"{status(500)['message']} (token sk-secret has expired)"

    run(main)


@pytest.mark.requirement("AGENT-01")
def test_http_agent_error_page_is_read_only_in_part() -> None:
    async def main() -> None:
        gone = asyncio.Event()

        async def script(exchange: Exchange) -> None:
            await exchange.head("500 Oh")
            await exchange.send(b"x" * 100_000)
            await exchange.until_closed()
            gone.set()

        async with remote(script) as upstream:
            assert await collect(HttpAgent(upstream.url)) == [status(500)]
            await gone.wait()

    run(main)


@pytest.mark.requirement("AGENT-01")
def test_http_agent_closed_client_raises() -> None:
    async def main() -> None:
        client = httpx2.AsyncClient()
        await client.aclose()
        with pytest.raises(RuntimeError, match="closed"):
            await collect(HttpAgent("http://127.0.0.1:1/", client=client))

    run(main)


@pytest.mark.requirement("AGENT-01")
@pytest.mark.parametrize("library", [httpx, httpx2])
@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("ConnectTimeout", "UPSTREAM_TIMEOUT"),
        ("PoolTimeout", "UPSTREAM_TIMEOUT"),
        ("WriteTimeout", "UPSTREAM_TIMEOUT"),
        ("ReadTimeout", "UPSTREAM_TIMEOUT"),
        ("ConnectError", "UPSTREAM_UNREACHABLE"),
        ("ProxyError", "UPSTREAM_UNREACHABLE"),
        ("UnsupportedProtocol", "UPSTREAM_UNREACHABLE"),
        ("LocalProtocolError", "UPSTREAM_BAD_REQUEST"),
        ("RemoteProtocolError", "UPSTREAM_BROKEN_STREAM"),
        ("ReadError", "UPSTREAM_BROKEN_STREAM"),
        ("WriteError", "UPSTREAM_BROKEN_STREAM"),
        ("CloseError", "UPSTREAM_BROKEN_STREAM"),
        ("DecodingError", "UPSTREAM_BROKEN_STREAM"),
        ("TooManyRedirects", "UPSTREAM_HTTP_ERROR"),
    ],
)
def test_http_agent_every_client_exception_has_a_code(library: Any, name: str, code: str) -> None:
    failure = to_upstream_error(getattr(library, name)("sk-secret"))
    assert failure is not None
    assert failure.code == code
    assert "sk-secret" not in failure.message
    assert "sk-secret" in str(failure)


@pytest.mark.requirement("AGENT-01")
def test_http_agent_other_exceptions_have_no_code() -> None:
    class ReadError(Exception):
        pass

    assert to_upstream_error(ReadError()) is None
    assert to_upstream_error(ValueError()) is None


# --- stopping ----------------------------------------------------------------


def _endless(started: asyncio.Event, gone: asyncio.Event) -> Script:
    async def script(exchange: Exchange) -> None:
        await exchange.head()
        await exchange.send(frames(STARTED))
        started.set()
        await exchange.until_closed()
        gone.set()

    return script


@pytest.mark.requirement("AGENT-01")
def test_http_agent_closing_the_iterator_closes_the_connection(client: Any) -> None:
    async def main() -> None:
        gone = asyncio.Event()
        async with remote(_endless(asyncio.Event(), gone)) as upstream:
            events = HttpAgent(upstream.url, client=client()).run(given(), context())
            assert await anext(events) == STARTED
            await events.aclose()
            await gone.wait()

    run(main)


@pytest.mark.requirement("AGENT-01")
@pytest.mark.parametrize("answered", [True, False])
def test_http_agent_cancelling_closes_the_connection(client: Any, answered: bool) -> None:
    async def main() -> None:
        started, gone = asyncio.Event(), asyncio.Event()

        async def unanswered(exchange: Exchange) -> None:
            started.set()
            await exchange.until_closed()
            gone.set()

        async with remote(_endless(started, gone) if answered else unanswered) as upstream:
            task = asyncio.create_task(collect(HttpAgent(upstream.url, client=client())))
            await started.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await gone.wait()

    run(main)


@pytest.mark.requirement("AGENT-01")
def test_http_agent_failure_closes_the_connection(client: Any) -> None:
    async def main() -> None:
        gone = asyncio.Event()

        async def script(exchange: Exchange) -> None:
            await exchange.head()
            await exchange.send(frames(STARTED) + b"data: nonsense\n\n")
            await exchange.until_closed()
            gone.set()

        async with remote(script) as upstream:
            assert await collect(HttpAgent(upstream.url, client=client())) == [STARTED, NO_JSON]
            await gone.wait()

    run(main)


# --- clients and loops -------------------------------------------------------


@pytest.mark.requirement("AGENT-01")
def test_http_agent_has_a_client_for_each_event_loop() -> None:
    clients = loop_local_http_client()
    seen: list[Any] = []

    async def main() -> None:
        client: Any = await clients.get()
        assert await clients.get() is client
        assert not client.is_closed
        seen.append(client)

    run(main)
    run(main)
    assert len({id(client) for client in seen}) == 2
    assert all(client.is_closed for client in seen)


@pytest.mark.requirement("AGENT-01")
def test_http_agent_client_is_replaced_after_closing() -> None:
    async def main() -> None:
        clients = loop_local_http_client()
        first: Any = await clients.get()
        await clients.aclose()
        await clients.aclose()
        assert first.is_closed
        assert await clients.get() is not first

    run(main)


@pytest.mark.requirement("AGENT-01")
def test_http_agent_does_not_close_a_client_passed_to_it() -> None:
    async def main() -> None:
        async with httpx.AsyncClient() as client:
            agent = HttpAgent("http://127.0.0.1:1/", client=client)
            assert await collect(agent) == [REFUSED]
            await agent.aclose()
            assert not client.is_closed

    run(main)


@pytest.mark.requirement("AGENT-01")
def test_http_agent_closes_its_connection_when_garbage_collected() -> None:
    async def main() -> None:
        gone = asyncio.Event()

        async def script(exchange: Exchange) -> None:
            data = frames(STARTED, FINISHED)
            await exchange.head("200 OK", "text/event-stream", f"content-length: {len(data)}")
            await exchange.send(data)
            await exchange.until_closed()
            gone.set()

        async with remote(script) as upstream:
            await collect(HttpAgent(upstream.url))
            await gone.wait()

    run(main)


# --- construction ------------------------------------------------------------


@pytest.mark.requirement("AGENT-01")
@pytest.mark.parametrize(
    "url", ["", "/agent", "agents.example/run", "ftp://agents.example/", "http://", "http://[::1", None, b"http://a/b"]
)
def test_http_agent_url_must_be_valid(url: Any) -> None:
    with pytest.raises(ValueError, match="absolute URL"):
        HttpAgent(url)


@pytest.mark.requirement("AGENT-01")
@pytest.mark.parametrize(
    "headers",
    [
        {"content-length": "5"},
        {"Content-Type": "text/plain"},
        {"Connection": "close"},
        {"x y": "z"},
        {"": "z"},
        {"x": "a\r\nb: c"},
        {"x": "\u2603"},
    ],
)
def test_http_agent_headers_must_be_valid(headers: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="header"):
        HttpAgent("http://agents.example/", headers=headers)


@pytest.mark.requirement("AGENT-01")
@pytest.mark.parametrize(
    "options",
    [
        {"connect_timeout_seconds": 0},
        {"read_timeout_seconds": -1},
        {"max_event_bytes": 0},
    ],
)
def test_http_agent_numbers_must_be_valid(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="above 0"):
        HttpAgent("http://agents.example/", **options)


@pytest.mark.requirement("AGENT-01")
@pytest.mark.parametrize("wrong", ["client", httpx2.Client()])
def test_http_agent_client_must_be_valid(wrong: Any) -> None:
    with pytest.raises(TypeError, match="AsyncClient"):
        HttpAgent("http://agents.example/", client=wrong)


@pytest.mark.requirement("AGENT-01")
def test_http_agent_client_factory_must_return_a_client() -> None:
    async def main() -> None:
        with pytest.raises(TypeError, match="AsyncClient"):
            await collect(HttpAgent("http://agents.example/", client=httpx2.Client))  # type: ignore[arg-type]

    run(main)
