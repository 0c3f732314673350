"""What operators read: a line for each run, the events of debug mode, JSON, and whose fault a failure is."""

from __future__ import annotations

import asyncio
import json
import logging
import operator
import re
import signal
import subprocess
import sys
import traceback
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from copilot_runtime import (
    CopilotRuntime,
    EndedRun,
    Request,
    RuntimeHooks,
    User,
    create_copilot_runtime_handler,
)
from copilot_runtime._engine.endings import LOST
from copilot_runtime._engine.reaper import reap
from copilot_runtime._users import owner_hash
from copilot_runtime.log_format import JSONFormatter
from copilot_runtime.middleware import use
from copilot_runtime.stores import MemoryStore, SqliteStore
from copilot_runtime.stores.protocol import StoreError
from copilot_runtime.testing import AsyncTestClient, TestClient

from .http_client import TIMEOUT_SECONDS, Event
from .test_demo import BASE, run_cli
from .unit.engine_helpers import Gated, bounded, settled

RUNS, EVENTS = "copilot_runtime.runs", "copilot_runtime.events"
SECRET = "the text that no log may have"


def started(input: Any) -> Event:
    return {"type": "RUN_STARTED", "threadId": input.thread_id, "runId": input.run_id}


def finished(input: Any, **members: Any) -> Event:
    return {"type": "RUN_FINISHED", "threadId": input.thread_id, "runId": input.run_id, **members}


def talks(count: int) -> Callable[[Any], Iterator[Event]]:
    def agent(input: Any) -> Iterator[Event]:
        yield started(input)
        yield {"type": "TEXT_MESSAGE_START", "messageId": "m", "role": "assistant"}
        for _ in range(count):
            yield {"type": "TEXT_MESSAGE_CONTENT", "messageId": "m", "delta": SECRET}
        yield {"type": "TEXT_MESSAGE_END", "messageId": "m"}
        yield finished(input, usage=[{"provider": "p", "model": "m", "inputTokens": 7, "outputTokens": 11}])

    return agent


def fails(input: Any) -> Iterator[Event]:
    yield started(input)
    raise ValueError(SECRET)


async def waits(input: Any) -> AsyncIterator[Event]:
    yield started(input)
    await asyncio.Event().wait()


def runs(caplog: pytest.LogCaptureFixture) -> list[Any]:
    return [record for record in caplog.records if record.name == RUNS]


@pytest.fixture
def info(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "copilot_runtime")
    return caplog


def identify(request: Request) -> User:
    return User(id="lovelace@example.org")


@pytest.mark.requirement("OPS-01")
def test_log_has_one_line_per_run_with_its_fields(info: pytest.LogCaptureFixture) -> None:
    with TestClient(CopilotRuntime(agents={"talks": talks(3)}, identify_user=identify)) as client:
        result = client.run("talks", "hello")
    [record] = runs(info)
    assert record.levelno == logging.INFO
    fields = {name: getattr(record, name) for name in ("agent_id", "thread_id", "run_id", "outcome", "error_code")}
    assert fields == {
        "agent_id": "talks",
        "thread_id": result.thread_id,
        "run_id": result.run_id,
        "outcome": "finished",
        "error_code": None,
    }
    assert (record.event_count, record.input_tokens, record.output_tokens) == (7, 7, 11)
    assert record.byte_count > 7 * 20
    assert record.duration_seconds >= 0
    assert re.fullmatch("[0-9a-f]{16}", record.owner_hash)
    line = record.getMessage()
    for word in ("talks", result.thread_id, result.run_id, record.owner_hash, "finished", "events=7", "tokens=7+11"):
        assert word in line
    assert "lovelace" not in str(vars(record))


@pytest.mark.requirement("OPS-01")
@pytest.mark.parametrize("is_asgi", [True, False], ids=["asgi", "wsgi"])
def test_log_of_a_run_has_its_outcome(info: pytest.LogCaptureFixture, is_asgi: bool) -> None:
    runtime = CopilotRuntime(agents={"talks": talks(1), "fails": fails, "waits": waits}, single_user=True)

    async def on_a_loop() -> None:
        async with AsyncTestClient(runtime) as client:
            await client.run("talks")
            await client.run("fails")
            await client.suggest("talks")
            async with client.stream("waits", thread_id="t") as stream:
                await anext(stream)
                await client.stop("waits", "t")
                await stream.result()

    if is_asgi:
        asyncio.run(on_a_loop())
    else:
        with TestClient(runtime) as client:
            client.run("talks")
            client.run("fails")
            client.suggest("talks")
            with client.stream("waits", thread_id="t") as stream:
                next(stream)
                client.stop("waits", "t")
                stream.result()
    assert [(record.outcome, record.error_code, record.suggestion) for record in runs(info)] == [
        ("finished", None, False),
        ("failed", "INCOMPLETE_STREAM", False),
        ("finished", None, True),
        ("stopped", None, False),
    ]
    assert SECRET not in "".join(record.getMessage() for record in runs(info))


@pytest.mark.requirement("OPS-01")
def test_log_of_a_run_that_another_process_ends_says_so_in_both(info: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    @bounded
    async def main() -> None:
        agent = Gated()
        path = tmp_path / "threads.db"
        runtime = CopilotRuntime(agents={"gated": agent}, store=SqliteStore(path), single_user=True)
        other = CopilotRuntime(agents={"gated": agent}, store=SqliteStore(path), single_user=True)
        async with AsyncTestClient(runtime) as client, client.stream("gated", thread_id="t") as stream:
            await anext(stream)
            [run] = runtime.engine._runs.all()
            await settled(lambda: reap(other.store, run.lease.run, LOST, force=True) is not None)
            agent.allow(3)
            await settled(lambda: len(runs(info)) == 1)
        assert [record.outcome for record in runs(info)] == ["lost"]

    main()


@pytest.mark.requirement("OPS-01")
def test_log_of_a_run_whose_thread_is_deleted(info: pytest.LogCaptureFixture) -> None:
    @bounded
    async def main() -> None:
        runtime = CopilotRuntime(agents={"waits": waits}, single_user=True)
        async with AsyncTestClient(runtime) as client, client.stream("waits", thread_id="t") as stream:
            await anext(stream)
            await client.delete_thread("t")
            await settled(lambda: len(runs(info)) == 1)
        assert runs(info)[0].outcome == "deleted"

    main()


@pytest.mark.requirement("OPS-01")
def test_log_of_a_reaped_run(info: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    @bounded
    async def main() -> None:
        agent = Gated()
        path = tmp_path / "threads.db"
        runtime = CopilotRuntime(agents={"gated": agent}, store=SqliteStore(path), identify_user=identify)
        other = CopilotRuntime(agents={"gated": agent}, store=SqliteStore(path), identify_user=identify)
        async with AsyncTestClient(runtime) as client, client.stream("gated", thread_id="t") as stream:
            await anext(stream)
            [run] = runtime.engine._runs.all()
            await other.engine._orphans._reap(run.lease.run, LOST, force=True)
            [record] = runs(info)
            assert (record.outcome, record.agent_id, record.thread_id) == ("failed", "gated", "t")
            assert record.error_code == "RUN_LOST"
            assert record.owner_hash == owner_hash(identify(Request(method="GET", path="/")).owner_key)
            agent.allow(3)
            await settled(lambda: len(runs(info)) == 2)

    main()


@pytest.mark.requirement("OPS-01")
def test_log_lines_of_a_run_do_not_grow_with_its_events(info: pytest.LogCaptureFixture) -> None:
    with TestClient(CopilotRuntime(agents={"few": talks(10), "many": talks(40)})) as client:
        client.run("few")
        few = len(info.records)
        client.run("many")
    assert len(info.records) == 2 * few == 2


@pytest.mark.requirement("OPS-01")
def test_log_of_a_run_shortens_and_escapes_what_clients_choose(info: pytest.LogCaptureFixture) -> None:
    with TestClient(CopilotRuntime(agents={"talks": talks(1)})) as client:
        client.run("talks", thread_id="t\n" + "x" * 5000, run_id="r\x1b[2K")
    [record] = runs(info)
    assert record.getMessage().isprintable()
    assert len(record.getMessage()) < 700
    assert len(record.thread_id) < 300


@pytest.mark.requirement("OPS-01")
def test_log_of_a_run_is_not_made_where_nobody_reads_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    with TestClient(CopilotRuntime(agents={"talks": talks(1)})) as client:
        client.run("talks")
    assert caplog.records == []


# --- debug ---


@pytest.mark.requirement("OPS-01")
@pytest.mark.parametrize("debug", [True, False])
def test_debug_logs_events_by_type_ids_and_lengths(info: pytest.LogCaptureFixture, debug: bool) -> None:
    with TestClient(CopilotRuntime(agents={"talks": talks(2), "fails": fails}, debug=debug)) as client:
        client.run("talks", SECRET)
        client.suggest("talks", SECRET)
    records: list[Any] = [record for record in info.records if record.name == EVENTS]
    if not debug:
        assert records == []
        return
    types = [
        *("RUN_STARTED", "TEXT_MESSAGE_START", "TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END"),
        "RUN_FINISHED",
    ]
    assert [record.event_type for record in records] == 2 * types
    assert [record.event_number for record in records] == 2 * [1, 2, 3, 4, 5, 6]
    delta = records[2]
    assert (delta.event_ids, delta.event_lengths) == ({"messageId": "m"}, {"delta": len(SECRET)})
    assert "TEXT_MESSAGE_CONTENT messageId=m delta[29]" in delta.getMessage()
    assert SECRET not in "".join(str(vars(record)) for record in records)


@pytest.mark.requirement("OPS-01")
def test_debug_logs_each_event_of_a_run_on_a_loop_once(info: pytest.LogCaptureFixture) -> None:
    @bounded
    async def main() -> None:
        agent = Gated(5)
        agent.allow(5)
        async with AsyncTestClient(CopilotRuntime(agents={"gated": agent}, debug=True)) as client:
            await client.run("gated")

    main()
    records: list[Any] = [record for record in info.records if record.name == EVENTS]
    assert [record.event_number for record in records] == list(range(1, 10))


# --- JSON ---


def formatted(message: str, *args: object, **options: Any) -> dict[str, Any]:
    extra = options.pop("extra", {})
    values = {"name": "a.logger", "levelname": "WARNING", "msg": message, "args": args, **options, **extra}
    line = JSONFormatter().format(logging.makeLogRecord(values))
    assert "\n" not in line

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    parsed: dict[str, Any] = json.loads(line, parse_constant=refuse)
    return parsed


class Unshowable:
    def __str__(self) -> str:
        raise RuntimeError

    __repr__ = __str__


@pytest.mark.requirement("OPS-02")
def test_log_format_json_has_time_level_logger_message_and_extra() -> None:
    line = formatted("hello %s", "you\n", extra={"agent_id": "a", "count": 3})
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    assert line == {"level": "WARNING", "logger": "a.logger", "message": "hello you\n", "agent_id": "a", "count": 3}


@pytest.mark.requirement("OPS-02")
@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (float("nan"), None),
        ("\ud800", "\\ud800"),
        ({"a": [1]}, {"a": [1]}),
        (Unshowable(), "<Unshowable>"),
        (None, None),
    ],
    ids=["nan", "half a character", "object", "unshowable", "none"],
)
def test_log_format_json_is_json_whatever_is_logged(value: Any, shown: Any) -> None:
    line = formatted("x", extra={"value": value, "nan": float("inf")})
    assert line["value"] == shown or "Unshowable" in str(line["value"])
    assert line["nan"] is None
    assert line["message"] == "x"


@pytest.mark.requirement("OPS-02")
def test_log_format_json_has_tracebacks_in_the_line() -> None:
    try:
        raise ValueError("oh")
    except ValueError:
        line = formatted("x", exc_info=sys.exc_info(), stack_info="Stack")
    assert line["exception"].endswith("ValueError: oh")
    assert line["stack"] == "Stack"


THEIR_MODULE = """
import warnings

from copilot_runtime import CopilotRuntime

def agent(input):
    yield {"type": "RUN_STARTED", "threadId": input.thread_id, "runId": input.run_id}
    warnings.warn("a warning of theirs")
    raise LookupError("of theirs")

runtime = CopilotRuntime(agents={"theirs": agent})
"""


@pytest.mark.requirement("OPS-02", "CLI-01")
def test_cli_serve_log_format_json_logs_lines_of_json(tmp_path: Path) -> None:
    (tmp_path / "their_app.py").write_text(THEIR_MODULE, "utf-8")
    with run_cli(
        *("serve", "their_app:runtime", "--log-format", "json"), folder=tmp_path, stderr=subprocess.PIPE
    ) as server:
        server.chat("theirs", "hello")
        server.process.send_signal(signal.SIGINT)
        assert server.process.stderr is not None
        logged = server.process.stderr.read()
        server.process.wait(TIMEOUT_SECONDS)
    lines = [json.loads(line) for line in logged.splitlines()]
    [run] = [line for line in lines if line["logger"] == RUNS]
    assert (run["outcome"], run["agent_id"], run["error_code"]) == ("failed", "theirs", "INCOMPLETE_STREAM")
    [failure] = [line for line in lines if line["level"] == "ERROR"]
    assert "LookupError: of theirs" in failure["exception"]
    [warning] = [line for line in lines if line["logger"] == "py.warnings"]
    assert "a warning of theirs" in warning["message"]
    assert not any("color_message" in line for line in lines)
    assert any(f"POST {BASE}/agent/theirs/run" in line["message"] for line in lines), "the server's own lines, too"


def test_cli_serve_log_format_is_text_or_json() -> None:
    command = [sys.executable, "-m", "copilot_runtime", "serve", "a:b", "--log-format", "xml"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS)
    assert ended.returncode == 2
    assert "--log-format" in ended.stderr


# --- whose fault it is ---


def post(path: str, body: Any) -> tuple[str, str, Any]:
    return "POST", path, body


RUN = {"threadId": "t", "runId": "r", "messages": [], "tools": [], "context": [], "state": {}, "forwardedProps": {}}

BAD_REQUESTS: Mapping[str, tuple[str, str, Any]] = {
    "no route": ("GET", "/nothing", None),
    "method": ("DELETE", "/info", None),
    "envelope": post("", {"method": "nothing"}),
    "envelope without method": post("", {}),
    "envelope of a string": post("", "hello"),
    "graphql": post("", {"query": "mutation { x }"}),
    "no agent": post("/agent/nobody/run", RUN),
    "input": post("/agent/talks/run", {}),
    "input null": post("/agent/talks/run", None),
    "input list": post("/agent/talks/run", []),
    "message": post("/agent/talks/run", {**RUN, "messages": [{"role": "user"}]}),
    "role": post("/agent/talks/run", {**RUN, "messages": [{"id": "1", "role": "king", "content": "x"}]}),
    "resume": post("/agent/talks/run", {**RUN, "resume": "yes"}),
    "python names": post("/agent/talks/run", {**RUN, "thread_id": "t"}),
    "connect": post("/agent/talks/connect", {"threadId": 3}),
    "suggest": post("/agent/talks/suggest", {"messages": 3}),
    "stop": post("/agent/talks/stop/t", {"runId": 3}),
    "transcribe": post("/transcribe", {"audio": "no base64!"}),
    "threads": ("GET", "/threads?limit=x&cursor=%00", None),
    "thread": ("GET", "/threads/%ff/messages", None),
    "unknown thread": ("DELETE", "/threads/unknown", None),
    "update": ("PATCH", "/threads/t", {"name": 3}),
    "debug feed": ("GET", "/cpk-debug-events", None),
    "memories": ("GET", "/memories", None),
}


@pytest.mark.requirement("OPS-04")
@pytest.mark.parametrize("name", BAD_REQUESTS)
def test_log_has_no_error_for_what_a_caller_has_done_wrong(info: pytest.LogCaptureFixture, name: str) -> None:
    method, path, body = BAD_REQUESTS[name]
    with TestClient(CopilotRuntime(agents={"talks": talks(1)}, single_user=True)) as client:
        response = client.request(method, path, body, check=False)
    assert response.status < 500 or response.status == 503, response.body
    assert [record for record in info.records if record.levelno >= logging.ERROR or record.exc_info] == []


def raises(*_: Any) -> Any:
    raise LookupError("of theirs")


async def raises_later(*_: Any) -> Any:
    raises()


def returns_junk(*_: Any) -> Any:
    return 3


def takes_none() -> None:
    """Cannot be called with what hooks are called with."""


def yields_junk(input: Any) -> Iterator[Any]:
    yield {"type": "NOTHING"}


def unordered(input: Any) -> Iterator[Any]:
    yield started(input)
    yield {"type": "TEXT_MESSAGE_CONTENT", "messageId": "m", "delta": "x"}


def times_out(*arguments: Any) -> Any:
    raise TimeoutError("of theirs")  # which futures of asyncio replace by one without a traceback


def ends_too_early(input: Any) -> Iterator[Any]:
    yield started(input)
    next(iter(()))  # which Python replaces by a RuntimeError


async def ends_too_early_later(*arguments: Any) -> Any:
    next(iter(()))


async def ends_too_early_asynchronously(input: Any) -> AsyncIterator[Any]:
    yield started(input)
    await anext(aiter(empty()))


async def empty() -> AsyncIterator[Any]:
    return
    yield


class RaisingAgent:
    def run(self, input: Any) -> Any:
        return raises()

    def history(self, thread_id: str, context: Any) -> Any:
        return raises()


class JunkHistory:
    run = staticmethod(talks(1))

    def history(self, thread_id: str, context: Any) -> Any:
        return 3


def ended_badly(ended: EndedRun) -> None:
    raises()


def runtime_with(**options: Any) -> Callable[[], Any]:
    return lambda: CopilotRuntime(**{"agents": {"talks": talks(1)}, **options})


def agent_is(agent: Any) -> Callable[[], Any]:
    return runtime_with(agents=lambda context: {"talks": agent})


def hook(name: str, function: Any) -> Callable[[], Any]:
    return hooked(**{name: function})


def hooked(**hooks: Any) -> Callable[[], Any]:
    return lambda: create_copilot_runtime_handler(
        runtime=CopilotRuntime(agents={"talks": talks(1)}), hooks=RuntimeHooks(**hooks)
    )


HOOKS = ("on_request", "on_before_handler", "on_response")

RAISING: Mapping[str, Callable[[], Any]] = {
    **{f"{name} {function.__name__}": hook(name, function) for name in HOOKS for function in (raises, raises_later)},
    "identify_user": runtime_with(identify_user=raises),
    "identify_user later": runtime_with(identify_user=raises_later),
    "identify_user that times out": runtime_with(identify_user=times_out),
    "on_request that times out": hook("on_request", times_out),
    "factory of agents": runtime_with(agents=lambda context: raises()),
    "agent": agent_is(fails),
    "agent that ends too early": agent_is(ends_too_early),
    "asynchronous agent that ends too early": agent_is(ends_too_early_asynchronously),
    "hook that ends too early": hook("on_request", ends_too_early_later),
    "agent object": agent_is(RaisingAgent()),
    "coroutine": agent_is(raises_later),
    "middleware": agent_is(use(talks(1), lambda input, next: raises())),
    "on_run_end": runtime_with(on_run_end=ended_badly),
    "on_error": hooked(on_request=raises, on_error=raises_later),
}
"""Code of the application that raises."""

MISTAKEN: Mapping[str, Callable[[], Any]] = {
    **{
        f"{name} {function.__name__}": hook(name, function) for name in HOOKS for function in (returns_junk, takes_none)
    },
    "identify_user": runtime_with(identify_user=returns_junk),
    "identify_user without parameter": runtime_with(identify_user=takes_none),
    "identify_user in C": runtime_with(identify_user=operator.attrgetter("user")),
    "factory of agents": runtime_with(agents=returns_junk),
    "factory of junk": runtime_with(agents=lambda context: {"talks": 3}),
    "factory of a bad id": runtime_with(agents=lambda context: {".": talks(1)}),
    "unknown event": agent_is(yields_junk),
    "order": agent_is(unordered),
    "no iterator": agent_is(returns_junk),
}
"""Code of the application that returns what cannot be used, or cannot be called."""


def errors_of(make: Callable[[], Any], caplog: pytest.LogCaptureFixture, is_asgi: bool) -> list[logging.LogRecord]:
    if is_asgi:

        async def on_a_loop() -> None:
            async with AsyncTestClient(make()) as client:
                await client.request("POST", "/agent/talks/stop/unknown", {}, check=False)
                async with client.stream("talks", check=False) as stream:
                    async for _ in stream:
                        pass

        asyncio.run(on_a_loop())
    else:
        with TestClient(make()) as client, client.stream("talks", check=False) as stream:
            for _ in stream:
                pass
    # What a run's end has started goes on behind it.
    CopilotRuntime(agents={"talks": talks(1)}).shutdown_sync(5)
    return [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.requirement("OPS-04")
@pytest.mark.parametrize("is_asgi", [True, False], ids=["asgi", "wsgi"])
@pytest.mark.parametrize("name", RAISING)
def test_log_of_an_exception_of_the_application_begins_in_its_code(
    caplog: pytest.LogCaptureFixture, name: str, is_asgi: bool
) -> None:
    records = errors_of(RAISING[name], caplog, is_asgi)
    assert records
    for record in records:
        assert record.exc_info is not None, record.getMessage()
        first = traceback.extract_tb(record.exc_info[2])[0]
        assert first.filename == __file__, first


@pytest.mark.requirement("OPS-04")
@pytest.mark.parametrize("is_asgi", [True, False], ids=["asgi", "wsgi"])
@pytest.mark.parametrize("name", MISTAKEN)
def test_log_of_a_mistake_of_the_application_is_one_line(
    caplog: pytest.LogCaptureFixture, name: str, is_asgi: bool
) -> None:
    records = errors_of(MISTAKEN[name], caplog, is_asgi)
    assert records
    for record in records:
        assert record.exc_info is None, "".join(traceback.format_exception(*record.exc_info))
        assert re.search(r"Error: |UnusableResult: ", record.getMessage())


class Wrapping(MemoryStore):
    """A store of the application's, whose errors say nothing themselves."""

    def threads(self, *args: Any, **options: Any) -> Any:
        try:
            raises()
        except LookupError as error:
            raise StoreError("broken") from error


@pytest.mark.requirement("OPS-04")
def test_log_of_a_store_that_fails_is_one_line_with_its_cause(caplog: pytest.LogCaptureFixture) -> None:
    runtime = CopilotRuntime(agents={"talks": talks(1)}, store=Wrapping(), single_user=True)
    with TestClient(runtime) as client:
        assert client.request("GET", "/threads", check=False).status == 503
    [record] = caplog.records
    assert record.exc_info is None
    assert record.getMessage() == "the store failed: StoreError: broken (caused by LookupError: of theirs)"


class BadTranscription:
    def transcribe(self, audio: bytes, filename: str, mime_type: str) -> str:
        return str(raises())


class Remembering:
    """An agent whose memory fails."""

    def run(self, input: Any) -> Any:
        return talks(1)(input)

    def history(self, thread_id: str, context: Any) -> Any:
        return raises()


@pytest.mark.requirement("OPS-04")
def test_log_of_a_failing_service_history_or_name_begins_in_the_applications_code(
    caplog: pytest.LogCaptureFixture,
) -> None:
    runtime = CopilotRuntime(
        agents={"remembering": Remembering()},
        single_user=True,
        transcription_service=BadTranscription(),
        thread_names=raises,
    )
    with TestClient(runtime) as client:
        client.connect("remembering", "unknown")
        client.request("POST", "/transcribe", {"audio": "AAAA", "mimeType": "audio/webm"}, check=False)
        client.run("remembering", "hello")
        runtime.shutdown_sync(5)
    records = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(records) == 3, [record.getMessage() for record in records]
    for record in records:
        assert record.exc_info is not None, record.getMessage()
        assert traceback.extract_tb(record.exc_info[2])[0].filename == __file__, record.getMessage()


def test_log_of_an_on_error_that_cannot_be_called_has_the_first_error_too(caplog: pytest.LogCaptureFixture) -> None:
    with TestClient(hooked(on_request=raises, on_error=takes_none)()) as client:
        client.request("GET", "/info", check=False)
    lines = [record.getMessage() for record in caplog.records]
    assert lines == [
        "on_error failed for GET /info: TypeError: " + lines[0].partition("TypeError: ")[2],
        "GET /info failed",
    ]
