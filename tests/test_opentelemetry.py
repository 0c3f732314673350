"""Spans and metrics, as the SDK's in-memory exporters receive them, through the ASGI and the WSGI application."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import json
import logging
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from copilot_runtime import (
    CopilotHandler,
    CopilotRuntime,
    OpenTelemetry,
    Request,
    User,
    create_copilot_runtime_handler,
)
from copilot_runtime._engine import Engine
from copilot_runtime._engine.async_store import AsyncStore
from copilot_runtime._engine.endings import LOST
from copilot_runtime._engine.reaper import reap
from copilot_runtime._telemetry import failures, names
from copilot_runtime._telemetry.metrics import Metrics
from copilot_runtime.agents import BuiltInAgent, HttpAgent, define_tool
from copilot_runtime.middleware import use
from copilot_runtime.stores import MemoryStore, SqliteStore
from copilot_runtime.stores.protocol import StoreError
from copilot_runtime.testing import AsyncTestClient, TestClient, override_stores
from copilot_runtime_asgi import create_copilot_asgi_app
from copilot_runtime_wsgi import create_copilot_wsgi_app

from .builtin.fake_provider import Exchange, chunk, run_fake_provider
from .http_client import Event, run_input
from .unit.engine_helpers import Gated, bounded, settled

pytestmark = pytest.mark.requirement("OPS-05")

TRACE, PARENT = 0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331
TRACEPARENT = f"00-{TRACE:032x}-{PARENT:016x}-01"
SECRET = "what no span may have"


class Exporters:
    """What a runtime has reported."""

    def __init__(self) -> None:
        self._spans = InMemorySpanExporter()
        self.tracer_provider = TracerProvider()
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self._spans))
        self._reader = InMemoryMetricReader()
        self.options = OpenTelemetry(tracer_provider=self.tracer_provider, meter_provider=MeterProvider([self._reader]))

    def runtime(self, agent: Any, **options: Any) -> CopilotRuntime:
        return CopilotRuntime(**{"agents": {"a": agent}, "single_user": True, "opentelemetry": self.options, **options})

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self._spans.get_finished_spans()

    def named(self, name: str) -> ReadableSpan:
        found = [span for span in self.spans if span.name == name]
        assert len(found) == 1, (name, [span.name for span in self.spans])
        return found[0]

    def metric(self, name: str) -> dict[tuple[Any, ...], Any]:
        """Returns the points of a metric, by the values of their attributes in the order of their names."""
        data: Any = self._reader.get_metrics_data()
        if data is None:
            return {}
        metrics = [
            metric
            for of_resource in data.resource_metrics
            for scope in of_resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
        ]
        return {
            tuple(value for _, value in sorted(point.attributes.items())): getattr(point, "value", None)
            if hasattr(point, "value")
            else point.count
            for metric in metrics
            for point in metric.data.data_points
        }


@pytest.fixture
def exporters() -> Exporters:
    return Exporters()


def attributes(span: ReadableSpan) -> Mapping[str, Any]:
    return dict(span.attributes or {})


def parent_id(span: ReadableSpan) -> int | None:
    return None if span.parent is None else span.parent.span_id


def span_id(span: ReadableSpan) -> int:
    assert span.context is not None
    identity: int = span.context.span_id
    return identity


def started(input: Any) -> Event:
    return {"type": "RUN_STARTED", "threadId": input.thread_id, "runId": input.run_id}


def finished(input: Any, **members: Any) -> Event:
    return {"type": "RUN_FINISHED", "threadId": input.thread_id, "runId": input.run_id, **members}


def talks(input: Any) -> Iterator[Event]:
    yield started(input)
    yield {"type": "TEXT_MESSAGE_CHUNK", "messageId": "m", "delta": SECRET}
    yield finished(input, usage=[{"provider": "p", "model": "m", "inputTokens": 7, "outputTokens": 11}])


async def talks_later(input: Any) -> AsyncIterator[Event]:
    for event in talks(input):
        await asyncio.sleep(0)
        yield event


def fails(input: Any) -> Iterator[Event]:
    yield started(input)
    raise ValueError(SECRET)


Sent = tuple[str, str, Any, Mapping[str, str]]
"""Method, path, JSON and headers of a request."""


def through_asgi(handler: CopilotHandler, *requests: Sent) -> list[httpx2.Response]:
    async def send() -> list[httpx2.Response]:
        transport = httpx2.ASGITransport(app=create_copilot_asgi_app(handler=handler))
        async with httpx2.AsyncClient(transport=transport, base_url="http://runtime") as client:
            return [
                await client.request(method, path, json=body, headers=headers)
                for method, path, body, headers in requests
            ]

    return asyncio.run(send())


def through_wsgi(handler: CopilotHandler, *requests: Sent) -> list[httpx2.Response]:
    transport = httpx2.WSGITransport(app=create_copilot_wsgi_app(handler=handler))
    with httpx2.Client(transport=transport, base_url="http://runtime") as client:
        return [client.request(method, path, json=body, headers=headers) for method, path, body, headers in requests]


Through = Callable[..., list[httpx2.Response]]


@pytest.fixture(params=[through_asgi, through_wsgi], ids=["asgi", "wsgi"])
def through(request: pytest.FixtureRequest) -> Through:
    send: Through = request.param
    return send


def run_of(agent: str = "a", thread: str = "t", run: str = "r", **headers: str) -> Sent:
    return "POST", f"/api/agent/{agent}/run", run_input(thread, run, state={}, forwardedProps={}), headers


@pytest.mark.parametrize("agent", [talks, talks_later], ids=["sync", "async"])
def test_opentelemetry_spans_of_a_run(exporters: Exporters, through: Through, tmp_path: Path, agent: Any) -> None:
    runtime = exporters.runtime(
        agent, store=SqliteStore(tmp_path / "t.db"), single_user=False, identify_user=lambda request: User(id="ada")
    )
    handler = create_copilot_runtime_handler(runtime=runtime, base_path="/api")
    [response] = through(handler, run_of(traceparent=TRACEPARENT))
    assert "RUN_FINISHED" in response.text
    request, run = exporters.named("POST /api/agent/{agent_id}/run"), exporters.named("invoke_agent a")
    begin, finish = exporters.named("store begin"), exporters.named("store finish")
    assert {span.context.trace_id for span in exporters.spans if span.context} == {TRACE}
    assert parent_id(request) == PARENT
    assert parent_id(run) == parent_id(begin) == span_id(request)
    assert parent_id(finish) == span_id(run)
    assert request.kind is SpanKind.SERVER
    assert attributes(request) == {
        "http.request.method": "POST",
        "url.path": "/api/agent/a/run",
        "http.route": "/api/agent/{agent_id}/run",
        "copilot_runtime.route": "agent/run",
        "http.response.status_code": 200,
    }
    of_run = dict(attributes(run))
    assert len(of_run.pop("enduser.pseudo.id")) == 16
    assert of_run.pop("copilot_runtime.run.bytes") > 100
    assert of_run == {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": "a",
        "gen_ai.conversation.id": "t",
        "copilot_runtime.run.id": "r",
        "copilot_runtime.run.outcome": "finished",
        "copilot_runtime.run.events": 5,
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.usage.output_tokens": 11,
    }
    assert attributes(begin) == {"db.system.name": "sqlite", "db.operation.name": "begin"}
    assert {span.status.status_code for span in exporters.spans} == {StatusCode.UNSET}


def test_opentelemetry_the_log_line_of_a_run_belongs_to_its_span(
    exporters: Exporters, through: Through, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "copilot_runtime")
    current: list[int] = []

    def note(record: logging.LogRecord) -> bool:
        current.append(trace.get_current_span().get_span_context().span_id)
        return True

    runtime = exporters.runtime(talks, agents={"s": talks, "a": talks_later})
    handler = create_copilot_runtime_handler(runtime=runtime, base_path="/api")
    logger = logging.getLogger("copilot_runtime.runs")
    logger.addFilter(note)
    try:
        through(handler, run_of("s", thread="s"), run_of("a", thread="a"))
    finally:
        logger.removeFilter(note)
    assert current == [span_id(exporters.named(f"invoke_agent {agent}")) for agent in "sa"]


def test_opentelemetry_metrics_of_runs(exporters: Exporters, through: Through) -> None:
    runtime = exporters.runtime(talks, agents={"a": talks, "f": fails})
    handler = create_copilot_runtime_handler(runtime=runtime, base_path="/api")
    through(handler, run_of(), run_of(run="r2"), run_of("f", thread="u"))
    failed = ("INCOMPLETE_STREAM",)
    assert exporters.metric("copilot_runtime.runs") == {("finished", "a"): 2, ("failed", *failed, "f"): 1}
    assert exporters.metric("copilot_runtime.run.duration") == {("finished", "a"): 2, ("failed", *failed, "f"): 1}
    assert exporters.metric("copilot_runtime.run.time_to_first_event") == {("a",): 2, ("f",): 1}
    assert exporters.metric("copilot_runtime.events") == {("a",): 10, ("f",): 2}
    assert exporters.metric("copilot_runtime.tokens") == {("a", "p", "m", "input"): 14, ("a", "p", "m", "output"): 22}
    assert exporters.metric("copilot_runtime.store.duration") == {("begin", "memory"): 3, ("finish", "memory"): 3}
    assert exporters.metric("copilot_runtime.leases.lost") == {}
    run = exporters.named("invoke_agent f")
    assert (run.status.status_code, attributes(run)["error.type"]) == (StatusCode.ERROR, "INCOMPLETE_STREAM")


def test_opentelemetry_has_nothing_of_what_is_said(exporters: Exporters, through: Through) -> None:
    runtime = exporters.runtime(talks, agents={"a": talks, "f": fails})
    body = run_input("t", "r", state={}, forwardedProps={}, messages=[{"id": "1", "role": "user", "content": SECRET}])
    handler = create_copilot_runtime_handler(runtime=runtime, base_path="/api")
    through(handler, *(("POST", f"/api/agent/{agent}/run?{SECRET}", body, {"cookie": SECRET}) for agent in "af"))
    assert len(exporters.spans) > 5
    assert SECRET not in "".join(span.to_json() for span in exporters.spans)


def test_opentelemetry_spans_of_other_requests(exporters: Exporters, through: Through) -> None:
    runtime = exporters.runtime(talks, healthz=True)
    handler = create_copilot_runtime_handler(runtime=runtime, base_path="/api")
    through(
        handler,
        ("GET", "/api/info", None, {}),
        ("GET", "/api/nothing/here", None, {}),
        ("POST", "/api", {"method": "info"}, {}),
        ("GET", "/api/healthz", None, {}),
        ("POST", "/api/agent/a/connect", run_input("t", "r", state={}, forwardedProps={}), {}),
    )
    roots = [span for span in exporters.spans if span.kind is SpanKind.SERVER]
    assert [(span.name, attributes(span)["http.response.status_code"]) for span in roots] == [
        ("GET /api/info", 200),
        ("GET", 404),
        ("POST /api/info", 200),
        ("POST /api/agent/{agent_id}/connect", 200),
    ]
    assert {span.status.status_code for span in roots} == {StatusCode.UNSET}, "a 404 is the caller's"


def test_opentelemetry_a_failing_hook_is_an_error_of_the_request(exporters: Exporters) -> None:
    def identify(request: Request) -> User:
        raise LookupError(SECRET)

    with TestClient(exporters.runtime(talks, single_user=False, identify_user=identify)) as client:
        client.request("GET", "/info", check=False)
    [request] = exporters.spans
    assert (request.status.status_code, attributes(request)["error.type"]) == (StatusCode.ERROR, "500")


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "name"),
    [
        ("GET", "/threads/t/state", None, 401, "GET /threads/{thread_id}/state"),
        ("POST", "/agent/a/run", {}, 401, "POST /agent/{agent_id}/run"),
        ("PUT", "/info", None, 401, "PUT"),
        ("GET", "/nothing", None, 401, "GET"),
    ],
)
def test_opentelemetry_requests_that_reach_no_endpoint_have_their_route(
    exporters: Exporters, method: str, path: str, body: Any, status: int, name: str
) -> None:
    runtime = exporters.runtime(talks, single_user=False, identify_user=lambda request: None)
    with TestClient(runtime) as client:
        assert client.request(method, path, body, check=False).status == status
    assert [span.name for span in exporters.spans] == [name]


def test_opentelemetry_requests_are_children_of_the_applications_spans(exporters: Exporters, through: Through) -> None:
    tracer = exporters.tracer_provider.get_tracer("theirs")
    runtime = exporters.runtime(talks)
    handler = create_copilot_runtime_handler(runtime=runtime, base_path="/api")
    with tracer.start_as_current_span("theirs", kind=SpanKind.SERVER) as theirs:
        through(handler, run_of(traceparent=TRACEPARENT))
    request = exporters.named("POST /api/agent/{agent_id}/run")
    assert parent_id(request) == theirs.get_span_context().span_id
    assert request.kind is SpanKind.INTERNAL


def test_opentelemetry_spans_of_an_agent_are_children_of_its_run(exporters: Exporters, through: Through) -> None:
    tracer = exporters.tracer_provider.get_tracer("theirs")

    def sync_agent(input: Any) -> Iterator[Event]:
        with tracer.start_as_current_span("sync"):
            pass
        yield from talks(input)

    async def async_agent(input: Any) -> AsyncIterator[Event]:
        with tracer.start_as_current_span("async"):
            await asyncio.sleep(0)
        for event in talks(input):
            yield event

    async def layer(input: Any, next: Any) -> AsyncIterator[Event]:
        async for event in next(input):
            yield event

    agents = {"s": sync_agent, "a": async_agent, "m": use(sync_agent, layer)}
    handler = create_copilot_runtime_handler(runtime=exporters.runtime(talks, agents=agents), base_path="/api")
    for agent, name in (("s", "sync"), ("a", "async"), ("m", "sync")):
        before = len(exporters.spans)
        through(handler, run_of(agent, thread=agent))
        new = {span.name: span for span in exporters.spans[before:]}
        assert parent_id(new[name]) == span_id(new[f"invoke_agent {agent}"])


def test_opentelemetry_counts_active_runs_and_open_streams(exporters: Exporters) -> None:
    @bounded
    async def main() -> None:
        agent = Gated()
        async with AsyncTestClient(exporters.runtime(agent)) as client:
            async with client.stream("a", thread_id="t") as stream:
                await anext(stream)
                assert exporters.metric("copilot_runtime.runs.active") == {(): 1}
                assert exporters.metric("copilot_runtime.streams.open") == {(): 1}
            assert exporters.metric("copilot_runtime.streams.open") == {(): 0}
            request = exporters.named("POST /agent/{agent_id}/run")
            assert request.end_time, "it ends with its stream, when the client leaves"
            assert [span for span in exporters.spans if span.name == "invoke_agent a"] == [], "the run goes on"
            agent.allow(3)
            await settled(lambda: exporters.metric("copilot_runtime.runs.active") == {(): 0})
            assert parent_id(exporters.named("invoke_agent a")) == span_id(request)

    main()


def test_opentelemetry_of_stopped_runs_and_suggestions(exporters: Exporters) -> None:
    @bounded
    async def main() -> None:
        gated = exporters.runtime(Gated())
        async with AsyncTestClient(gated) as client, client.stream("a", thread_id="t") as stream:
            await anext(stream)
            await client.stop("a", "t")
            await stream.result()
        async with AsyncTestClient(exporters.runtime(talks)) as client:
            await client.suggest("a")

    main()
    assert exporters.metric("copilot_runtime.runs") == {("stopped", "a"): 1, ("finished", "a"): 1}
    runs = [attributes(span) for span in exporters.spans if span.name == "invoke_agent a"]
    assert [run.get("copilot_runtime.run.suggestion", False) for run in runs] == [False, True]


def test_opentelemetry_counts_lost_leases_and_reaped_runs(exporters: Exporters, tmp_path: Path) -> None:
    @bounded
    async def main() -> None:
        agent = Gated()
        path = tmp_path / "threads.db"
        runtime = exporters.runtime(agent, store=SqliteStore(path))
        other = SqliteStore(path)
        async with AsyncTestClient(runtime) as client, client.stream("a", thread_id="t") as stream:
            await anext(stream)
            [active] = runtime.engine._runs.all()
            await settled(lambda: reap(other, active.lease.run, LOST, force=True) is not None)
            await settled(lambda: exporters.metric("copilot_runtime.leases.lost") == {("a",): 1})
        run = exporters.named("invoke_agent a")
        assert (run.status.status_code, attributes(run)["copilot_runtime.run.outcome"]) == (StatusCode.ERROR, "lost")
        async with AsyncTestClient(runtime) as client, client.stream("a", thread_id="u") as stream:
            await anext(stream)
            [active] = runtime.engine._runs.all()
            await exporters.runtime(agent, store=SqliteStore(path)).engine._orphans._reap(
                active.lease.run, LOST, force=True
            )
            assert exporters.metric("copilot_runtime.runs")[("failed", "RUN_LOST", "a")] == 1

    main()


class FailingStore(MemoryStore):
    def messages(self, *args: Any) -> Any:
        raise StoreError(SECRET)


def test_opentelemetry_of_a_store_that_fails_has_its_type_and_not_its_text(exporters: Exporters) -> None:
    with TestClient(exporters.runtime(talks, store=FailingStore())) as client:
        client.request("GET", "/threads/t/messages", check=False)
    read = exporters.named("store read")
    assert (read.status.status_code, attributes(read)["error.type"]) == (StatusCode.ERROR, "StoreError")
    assert exporters.metric("copilot_runtime.store.duration") == {("read", "memory", "StoreError"): 1}
    assert SECRET not in "".join(span.to_json() for span in exporters.spans)


def test_opentelemetry_flushes_are_measured_and_make_no_traces(exporters: Exporters, tmp_path: Path) -> None:
    @bounded
    async def main() -> None:
        agent = Gated()
        runtime = exporters.runtime(agent, store=SqliteStore(tmp_path / "t.db"))
        async with AsyncTestClient(runtime) as client, client.stream("a", thread_id="t") as stream:
            await anext(stream)
            await settled(lambda: ("append", "sqlite") in exporters.metric("copilot_runtime.store.duration"))
            agent.allow(3)
            await stream.result()

    main()
    assert {span.name for span in exporters.spans if span.parent is None} == {"POST /agent/{agent_id}/run"}
    assert "store append" not in {span.name for span in exporters.spans}


def test_opentelemetry_spans_of_a_run_do_not_grow_with_its_events(exporters: Exporters) -> None:
    def many(count: int) -> Any:
        def agent(input: Any) -> Iterator[Event]:
            yield started(input)
            yield {"type": "TEXT_MESSAGE_START", "messageId": "m", "role": "assistant"}
            for _ in range(count):
                yield {"type": "TEXT_MESSAGE_CONTENT", "messageId": "m", "delta": "x"}
            yield {"type": "TEXT_MESSAGE_END", "messageId": "m"}
            yield finished(input)

        return agent

    with TestClient(exporters.runtime(talks, agents={"few": many(50), "many": many(200)})) as client:
        client.run("few")
        few = len(exporters.spans)
        client.run("many")
    assert len(exporters.spans) == 2 * few


def test_opentelemetry_of_a_request_that_is_dropped_with_its_loop(
    exporters: Exporters, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    async def identify(request: Request) -> User:
        await asyncio.Event().wait()
        raise AssertionError

    runtime = exporters.runtime(talks, single_user=False, identify_user=identify)
    handler = create_copilot_runtime_handler(runtime=runtime)
    request = handler(Request(method="GET", path="/info"))

    async def begin() -> None:
        contextvars.Context().run(lambda: request.send(None))

    asyncio.run(begin())
    request.close()
    assert [record.getMessage() for record in caplog.records] == []
    assert [attributes(span)["error.type"] for span in exporters.spans] == ["GeneratorExit"]


# --- models, tools, remote agents ---


def built_in_agent(url: str, tool: Any) -> BuiltInAgent:
    return BuiltInAgent(model="openai/some-model", base_url=url, api_key="a key", tools=[tool], max_steps=3)


def answer(exchange: Exchange) -> None:
    exchange.start_stream()
    if any(message["role"] == "tool" for message in exchange.json()["messages"]):
        usage = {"prompt_tokens": 20, "completion_tokens": 3, "total_tokens": 23}
        exchange.send(chunk({"content": "It is cold."}), chunk({}, "stop", usage=usage), "[DONE]")
    else:
        call = {"index": 0, "id": "c1", "function": {"name": "weather", "arguments": '{"place": "there"}'}}
        usage = {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}
        exchange.send(chunk({"tool_calls": [call]}), chunk({}, "tool_calls", usage=usage), "[DONE]")
    exchange.end_stream()


def test_opentelemetry_spans_of_model_and_tool_calls(exporters: Exporters, through: Through) -> None:
    @define_tool
    def weather(place: str) -> str:
        """Returns the weather."""
        return SECRET

    with run_fake_provider(answer) as model:
        agent = built_in_agent(model.url, weather)
        handler = create_copilot_runtime_handler(runtime=exporters.runtime(agent), base_path="/api")
        [response] = through(handler, run_of())
    assert "It is cold." in response.text
    run = exporters.named("invoke_agent a")
    calls = [span for span in exporters.spans if span.name == "chat some-model"]
    tool = exporters.named("execute_tool weather")
    assert {parent_id(span) for span in (*calls, tool)} == {span_id(run)}
    assert [span.kind for span in (*calls, tool)] == [SpanKind.CLIENT, SpanKind.CLIENT, SpanKind.INTERNAL]
    assert attributes(calls[0]) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "some-model",
        "gen_ai.response.finish_reasons": ("tool_calls",),
        "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 2,
    }
    assert attributes(tool) == {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "weather",
        "gen_ai.tool.type": "function",
    }
    assert attributes(run)["gen_ai.usage.input_tokens"] == 30
    assert exporters.metric("gen_ai.client.operation.duration") == {("chat", "openai", "some-model"): 2}
    usage = exporters.metric("gen_ai.client.token.usage")
    assert usage == {("chat", "openai", "some-model", kind): 2 for kind in ("input", "output")}
    assert SECRET not in "".join(span.to_json() for span in exporters.spans)


def test_opentelemetry_of_calls_that_fail(exporters: Exporters) -> None:
    def refuse(exchange: Exchange) -> None:
        if any(message["role"] == "tool" for message in exchange.json()["messages"]):
            exchange.respond({"error": {"message": SECRET}}, status=400)
        else:
            answer(exchange)

    @define_tool
    def weather(place: str) -> str:
        """Returns the weather."""
        raise LookupError(SECRET)

    with run_fake_provider(refuse) as model:
        agent = built_in_agent(model.url, weather)
        with TestClient(exporters.runtime(agent)) as client:
            client.run("a")
    calls = [span for span in exporters.spans if span.name == "chat some-model"]
    assert [attributes(span).get("error.type") for span in calls] == [None, "BadRequestError"]
    assert attributes(exporters.named("execute_tool weather"))["error.type"] == "tool_error"
    assert SECRET not in "".join(span.to_json() for span in exporters.spans)


@pytest.mark.parametrize("status", [200, 503])
def test_opentelemetry_traceparent_is_handed_on_to_remote_agents(
    exporters: Exporters, through: Through, status: int
) -> None:
    received: list[httpx2.Request] = []

    def respond(request: httpx2.Request) -> httpx2.Response:
        received.append(request)
        ids = json.loads(request.content)
        events = [{"type": kind, "threadId": ids["threadId"], "runId": "r"} for kind in ("RUN_STARTED", "RUN_FINISHED")]
        text = "".join(f"data: {json.dumps(event)}\n\n" for event in events)
        return httpx2.Response(status, content=text, headers={"content-type": "text/event-stream"})

    client = httpx2.AsyncClient(transport=httpx2.MockTransport(respond))
    agent = HttpAgent(f"https://user:{SECRET}@agents.example/run?key={SECRET}", client=client)
    handler = create_copilot_runtime_handler(runtime=exporters.runtime(agent), base_path="/api")
    through(handler, run_of(traceparent=TRACEPARENT, tracestate="their=state"))
    upstream = exporters.named("POST")
    [request] = received
    sent = request.headers.get_list("traceparent")
    assert sent == [f"00-{TRACE:032x}-{span_id(upstream):016x}-01"]
    assert request.headers["tracestate"] == "their=state"
    assert parent_id(upstream) == span_id(exporters.named("invoke_agent a"))
    of_call = dict(attributes(upstream))
    error = of_call.pop("error.type", None)
    assert (error is None) == (status == 200)
    assert of_call == {
        "http.request.method": "POST",
        "url.full": "https://agents.example/run",
        "server.address": "agents.example",
        "server.port": 443,
        "http.response.status_code": status,
    }
    assert SECRET not in "".join(span.to_json() for span in exporters.spans)


# --- switching it on ---


def test_opentelemetry_off_leaves_nothing_on_any_path() -> None:
    runtime = CopilotRuntime(agents={"a": talks})
    handler = create_copilot_runtime_handler(runtime=runtime)
    assert runtime.telemetry is None
    assert (type(handler), type(runtime.engine), type(runtime.engine.async_store)) == (
        CopilotHandler,
        Engine,
        AsyncStore,
    )


def test_opentelemetry_works_without_an_sdk(through: Through) -> None:
    runtime = CopilotRuntime(agents={"a": talks}, opentelemetry=True)
    handler = create_copilot_runtime_handler(runtime=runtime, base_path="/api")
    [response] = through(handler, run_of())
    assert "RUN_FINISHED" in response.text


def test_opentelemetry_of_replaced_stores(exporters: Exporters) -> None:
    runtime = exporters.runtime(talks)
    with override_stores(), TestClient(runtime) as client:
        client.run("a")
    exporters.named("invoke_agent a")


def test_opentelemetry_without_its_package_says_what_to_install() -> None:
    source = """
import sys
sys.modules["opentelemetry"] = None
from copilot_runtime import CopilotRuntime
def agent(input): yield
CopilotRuntime(agents={"a": agent})
try:
    CopilotRuntime(agents={"a": agent}, opentelemetry=True)
except ImportError as error:
    print(error)
"""
    ended = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=60)
    assert "pip install 'copilot-runtime[otel]'" in ended.stdout, ended.stderr


def test_opentelemetry_counts_active_runs_of_all_runtimes_of_a_provider(exporters: Exporters) -> None:
    seen: list[Any] = []

    def looks(input: Any) -> Iterator[Event]:
        yield started(input)
        seen.append(exporters.metric("copilot_runtime.runs.active"))
        yield finished(input)

    first = exporters.runtime(talks)
    TestClient(exporters.runtime(looks)).run("a")
    assert seen == [{(): 1}]
    assert exporters.metric("copilot_runtime.streams.open") == {(): 0}
    TestClient(Exporters().runtime(looks)).run("a")
    assert seen[1] == {(): 0}, "those of other providers are not among them"
    del first


def test_opentelemetry_metrics_do_not_grow_with_what_agents_report(exporters: Exporters) -> None:
    names_of_models = itertools.count()

    def fails_in_many_ways(input: Any) -> Iterator[Event]:
        yield started(input)
        yield {"type": "RUN_ERROR", "message": "m", "code": f"request {next(names_of_models)} \ud800"}

    def uses_many_models(input: Any) -> Iterator[Event]:
        yield started(input)
        usage = [{"provider": f"p{number}", "model": f"m{number}", "inputTokens": 1} for number in range(200)]
        yield finished(input, usage=usage)

    failing = TestClient(exporters.runtime(fails_in_many_ways))
    for _ in range(150):
        failing.run("a", check=False)
    TestClient(exporters.runtime(uses_many_models)).run("a")
    assert len(exporters.metric("copilot_runtime.runs")) <= 102
    tokens = exporters.metric("copilot_runtime.tokens")
    assert len(tokens) == 101
    assert sum(tokens.values()) == 200


class FailingProcessor(SpanProcessor):
    """A span processor with a bug."""

    def __init__(self, method: str) -> None:
        setattr(self, method, self.fail)

    def fail(self, *arguments: Any, **options: Any) -> None:
        raise LookupError(SECRET)


@pytest.mark.parametrize("method", ["on_start", "on_end"])
def test_opentelemetry_that_fails_fails_no_request(
    exporters: Exporters,
    through: Through,
    method: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(failures, "_reported", set())
    exporters.tracer_provider.add_span_processor(FailingProcessor(method))
    handler = create_copilot_runtime_handler(runtime=exporters.runtime(talks))
    info, run = through(handler, ("GET", "/api/info", None, {}), run_of())
    assert (info.status_code, run.status_code) == (200, 200)
    assert "RUN_FINISHED" in run.text
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == [
        "OpenTelemetry failed; further errors of this type are not logged"
    ]
    assert exporters.metric("copilot_runtime.runs")


@pytest.mark.parametrize(
    "headers",
    [
        {"traceparent": "no trace", "tracestate": "x" * 8000},
        {"traceparent": f"00-{0:032x}-{0:016x}-01"},
        {"traceparent": f"{TRACEPARENT},{TRACEPARENT}"},
        {"traceparent": TRACEPARENT, "tracestate": ",".join(f"k{number}=v" for number in range(500))},
        {"traceparent": TRACEPARENT, "baggage": "a=%ff%0d%0a,=,;;,b"},
    ],
)
def test_opentelemetry_takes_whatever_a_client_says_of_its_trace(
    exporters: Exporters, through: Through, headers: dict[str, str]
) -> None:
    (run,) = through(create_copilot_runtime_handler(runtime=exporters.runtime(talks)), run_of(**headers))
    assert "RUN_FINISHED" in run.text
    assert span_id(exporters.named("invoke_agent a"))


def test_opentelemetry_names_no_span_after_what_is_no_method(exporters: Exporters, through: Through) -> None:
    through(create_copilot_runtime_handler(runtime=exporters.runtime(talks)), ("BREW", "/api/unknown", None, {}))
    assert attributes(exporters.named("HTTP"))["http.request.method"] == "_OTHER"


def test_opentelemetry_docs_list_every_attribute_and_metric() -> None:
    page = (Path(__file__).parents[1] / "docs/observability.md").read_text("utf-8")
    section = page.partition("## Traces and metrics")[2].partition("\n## ")[0]
    listed = set(re.findall(r"`([\w.]+)`", section))
    attributes = {value for name, value in vars(names).items() if name.isupper()}
    assert len(attributes) > 20
    created: list[str] = []

    class Meter:
        def __getattr__(self, name: str) -> Any:
            return lambda metric, *others, **options: created.append(metric)

    metrics: Any = Metrics
    metrics(Meter(), int, int)
    assert len(created) > 10
    assert attributes | set(created) <= listed
