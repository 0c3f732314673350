"""What input costs is proportional to its size, whatever it is made of."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

import openai
import pytest
from ag_ui.core import (
    AssistantMessage,
    FunctionCall,
    Message,
    RunAgentInput,
    TextInputContent,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from ag_ui.core import Tool as FrontendTool

from copilot_runtime import __version__
from copilot_runtime._engine.base_reader import ReaderCallbacks
from copilot_runtime._engine.replay import replay
from copilot_runtime._engine.replay_reader import ReplayReader
from copilot_runtime._engine.run_log import RunLog
from copilot_runtime._engine.stored_interrupts import StoredInterrupts, changed_calls
from copilot_runtime._events import Burst, CompactedFrames, Cursor, apply_events, format_frame
from copilot_runtime._events.deltas import DELTA_TYPES, DeltaStream
from copilot_runtime._events.json_patch import MAX_COPIED_BYTES
from copilot_runtime._http.headers import Headers
from copilot_runtime._http.target import segments_below, split_raw_target
from copilot_runtime.agents import BuiltInAgent, RunContext
from copilot_runtime.agents._builtin._apis import arguments as completion_request
from copilot_runtime.agents._builtin.prompt import build_system_prompt
from copilot_runtime.agents._builtin.resume import Resumption
from copilot_runtime.agents._interrupts import ResumeEntry, without_copies
from copilot_runtime.agents._tools.tool import Tool
from copilot_runtime.agents._tools.toolbox import Toolbox
from copilot_runtime.stores.protocol import StoredRun, ThreadSnapshot

from .cost_helpers import assert_linear, measure
from .recorder_helpers import FINISHED, STARTED, Event, call, custom, events_of, recorded, text

Prepare = Callable[[int], Callable[[], object]]


def test_measure_counts_steps_and_copies() -> None:
    def steps(size: int) -> Callable[[], object]:
        return lambda: [other for one in range(size) for other in range(one)]

    def copies(size: int) -> Callable[[], object]:
        def run() -> None:
            rest = list(range(size))
            while rest:
                rest = rest[1:]

        return run

    for quadratic in (steps, copies):
        with pytest.raises(AssertionError):
            assert_linear(quadratic)
    assert measure(lambda: bytes(100_000)).allocated >= 100_000


PATHS: Mapping[str, str] = {
    "slashes": "/",
    "escaped slashes": "%2F",
    "segments": "a/",
    "escaped segments": "a%2F",
    "both kinds of slashes": "%2F/",
    "replaced characters": "%ff/",
    "no slashes": "a",
}


@pytest.mark.requirement("COST-01")
@pytest.mark.parametrize("root_path", [b"", b"/api/copilotkit", b"/api/copilotkit/", b"/other"], ids=str)
@pytest.mark.parametrize("base_path", [None, "/api/copilotkit"])
@pytest.mark.parametrize("unit", PATHS.values(), ids=PATHS)
def test_path(unit: str, base_path: str | None, root_path: bytes) -> None:
    def prepare(size: int) -> Callable[[], object]:
        target = "/api/copilotkit%2F" + unit * size

        def resolve() -> None:
            path, root = split_raw_target(target, unquote_to_bytes(target), root_path)
            segments_below(path, root, base_path)

        return resolve

    assert_linear(prepare)


@pytest.mark.requirement("COST-01")
@pytest.mark.parametrize("name", ["x-field", "cookie"])
def test_header_fields_of_one_name(name: str) -> None:
    assert_linear(lambda size: lambda: Headers([(name, "value")] * size).get("host"))


class _Drain:
    """Reads a whole replay."""

    def __init__(self, history: list[bytes]) -> None:
        callbacks = ReaderCallbacks(lambda reader: None, lambda reader: None)
        self._reader = ReplayReader(log=None, history=history, callbacks=callbacks)

    def __call__(self) -> None:
        while self._reader.read_available() is not None:
            pass


@pytest.mark.requirement("COST-01")
def test_replay_of_many_events() -> None:
    assert_linear(lambda size: _Drain([b"data: {}\n\n"] * size), 10_000)


@pytest.mark.requirement("COST-01")
def test_resumed_reader_of_an_active_run_that_has_yet_to_reach_its_place() -> None:
    def prepare(size: int) -> Callable[[], object]:
        callbacks = ReaderCallbacks(lambda reader: None, lambda reader: None)
        log = RunLog(None, "r", "a")
        reader = ReplayReader(log=log, seen=10**9, callbacks=callbacks)

        def run() -> None:
            for _ in range(size):
                log.extend([Burst(b"data: {}\n\n" * 2, 2)], has_bursts=True)
                assert reader.read_available() == b""

        return run

    assert_linear(prepare)


@pytest.mark.requirement("COST-01")
def test_burst_of_deltas_copies_none_of_them() -> None:
    """As a reaper records all deltas of a run at once."""
    copied: list[str] = []

    class Deltas(list[str]):
        def __getitem__(self, index: Any) -> Any:
            found = super().__getitem__(index)
            copied.extend(found)
            return found

    stream = DeltaStream(DELTA_TYPES["REASONING_MESSAGE_CONTENT"], "m", b"id: 1.")
    burst = stream.encode(Deltas(["a"] * 4000), 1)
    assert isinstance(burst, Burst)
    assert burst.data.count(b"\n\n") == 4000
    assert not copied


@pytest.mark.requirement("COST-01")
@pytest.mark.parametrize("number", [None, 1], ids=["from the beginning", "after a cursor"])
def test_replay_of_a_stored_run_takes_no_step_per_event(number: int | None) -> None:
    cursor = None if number is None else Cursor(1, number)

    def steps(size: int) -> int:
        frames = [format_frame(b"{}", b"id: 1.", number) for number in range(1, size + 1)]
        run = StoredRun(
            1, "r", "a", CompactedFrames(frames), None if cursor is None else frames, recorded_by=__version__
        )
        return measure(lambda: list(replay(ThreadSnapshot([run], None, 1), cursor).history)).steps

    assert steps(100) == steps(400)


def reasoning(kind: str, message: str = "th", **members: Any) -> Event:
    return {"type": f"REASONING_MESSAGE_{kind}", "messageId": message, **members}


def activity(kind: str, message: str = "act", **members: Any) -> Event:
    return {"type": f"ACTIVITY_{kind}", "messageId": message, "activityType": "PLAN", **members}


FOLDED: Mapping[str, Callable[[int], list[Event]]] = {
    "deltas of one message": lambda size: [
        reasoning("START", role="reasoning"),
        *(reasoning("CONTENT", delta="some words of reasoning") for _ in range(size)),
    ],
    "deltas of two messages, by turns": lambda size: [
        text("START", "a"),
        text("START", "b"),
        *(text("CONTENT", identity, delta="some words of text") for _ in range(size) for identity in "ab"),
    ],
    "messages": lambda size: [text("START", f"m-{index}") for index in range(size)],
    "messages with deltas": lambda size: [
        *(text("START", f"m-{index}") for index in range(size)),
        *(text("CONTENT", f"m-{index}") for index in range(size)),
    ],
    "deltas of no message": lambda size: [
        *(text("START", f"m-{index}") for index in range(size)),
        *(text("CONTENT", "other") for _ in range(size)),
    ],
    "calls of one parent": lambda size: [call("START", f"c-{index}", parentMessageId="p") for index in range(size)],
    "arguments of many calls of one parent": lambda size: [
        *(call("START", f"c-{index}", parentMessageId="p") for index in range(size)),
        *(call("ARGS", f"c-{index}", delta="{}") for index in range(size)),
    ],
    "deltas of one call's arguments": lambda size: [
        call("START"),
        *(call("ARGS", delta="some words of arguments") for _ in range(size)),
    ],
    "arguments of no call": lambda size: [
        *(call("START", f"c-{index}") for index in range(size)),
        *(call("ARGS", "other") for _ in range(size)),
    ],
    "results": lambda size: [call("RESULT", f"c-{index}") for index in range(size)],
    "activities": lambda size: [activity("SNAPSHOT", f"a-{index}", content={}) for index in range(size)],
}


@pytest.mark.requirement("COST-01")
@pytest.mark.parametrize("name", FOLDED)
def test_folding_events_into_messages(name: str) -> None:
    def prepare(size: int) -> Callable[[], object]:
        events = FOLDED[name](size)
        return lambda: apply_events((), events)

    assert_linear(prepare)


ACTIVITY_PATCHES: Mapping[str, list[dict[str, Any]]] = {
    "of one operation": [{"op": "add", "path": "/items/-", "value": "some words"}],
    "of several": [
        {"op": "add", "path": "/items/-", "value": "some words"},
        {"op": "copy", "from": "/items/0", "path": "/last"},
        {"op": "move", "from": "/last", "path": "/items/-"},
    ],
    "that do not apply": [
        {"op": "replace", "path": "/items/0", "value": "some words"},
        {"op": "remove", "path": "/missing"},
    ],
}


@pytest.mark.requirement("COST-01")
@pytest.mark.parametrize("name", ACTIVITY_PATCHES)
def test_folding_deltas_of_one_activity(name: str) -> None:
    def prepare(size: int) -> Callable[[], object]:
        content = {"items": ["some words"] * size * 100}
        deltas = [activity("DELTA", patch=ACTIVITY_PATCHES[name]) for _ in range(size)]
        return lambda: apply_events((), [activity("SNAPSHOT", content=content), *deltas])

    assert_linear(prepare, 40)


def doubling(times: int, path: str = "") -> list[dict[str, Any]]:
    """Operations of which each doubles a document."""
    return [{"op": "copy", "from": path, "path": f"{path}/{index}"} for index in range(times)]


@pytest.mark.requirement("COST-01")
@pytest.mark.parametrize("per_delta", [1, 16])
def test_state_deltas_that_double_the_state(per_delta: int) -> None:
    operations = doubling(16)
    deltas = [operations[index : index + per_delta] for index in range(0, 16, per_delta)]
    events: list[Event] = [
        STARTED,
        {"type": "STATE_SNAPSHOT", "snapshot": {"text": "x" * 1000}},
        *({"type": "STATE_DELTA", "delta": delta} for delta in deltas),
        FINISHED,
    ]
    recorder, _ = recorded(events)
    assert events_of(record.frame for record in recorder.records()) == events
    assert measure(lambda: recorded(events)).allocated < 32 * MAX_COPIED_BYTES


def test_state_deltas_that_copy_little_are_folded() -> None:
    events: list[Event] = [STARTED, {"type": "STATE_DELTA", "delta": doubling(3)}, FINISHED]
    recorder, _ = recorded(events)
    snapshot = events_of(record.frame for record in recorder.records())[1]["snapshot"]
    assert snapshot == {"0": {}, "1": {"0": {}}, "2": {"0": {}, "1": {"0": {}}}}


@pytest.mark.requirement("COST-01")
def test_activity_deltas_that_double_the_content() -> None:
    content = {"text": "x" * 1000}
    events = [activity("SNAPSHOT", content=content), activity("DELTA", patch=doubling(16))]
    assert measure(lambda: apply_events((), events)).allocated < 32 * MAX_COPIED_BYTES
    assert apply_events((), events)[0]["content"] == content


@pytest.mark.requirement("COST-01")
def test_activity_deltas_that_copy_more_than_they_may() -> None:
    """The content is not looked at again for each of them."""

    def prepare(size: int) -> Callable[[], object]:
        content = {"text": "x" * (size * MAX_COPIED_BYTES // 10)}
        deltas = [activity("DELTA", patch=doubling(1)) for _ in range(size)]
        return lambda: apply_events((), [activity("SNAPSHOT", content=content), *deltas])

    assert_linear(prepare, 15)


def response(number: int) -> ResumeEntry:
    return ResumeEntry(number, f"i-{number}", False, {"number": number})


RESUMED: Mapping[str, Callable[[int], Callable[[], object]]] = {}
"""What is done with the entries of a run's ``resume``, by what it is."""


def resumed(prepare: Prepare) -> Prepare:
    RESUMED[prepare.__name__] = prepare
    return prepare


def run_input(*messages: Message) -> RunAgentInput:
    return RunAgentInput(
        thread_id="t", run_id="r", state={}, messages=list(messages), tools=[], context=[], forwarded_props={}
    )


@resumed
def copies_in_another_order(size: int) -> Callable[[], object]:
    messages = [
        ToolMessage(id=f"m-{number}", role="tool", tool_call_id=f"c-{number}", content=f'{{"number": {number}}}')
        for number in range(size)
    ]
    return lambda: without_copies(run_input(*messages), [response(number) for number in range(size)])


def stored_run(size: int, **finished: Any) -> StoredRun:
    events = [STARTED]
    for number in range(size):
        events += [call("START", f"c-{number}"), call("END", f"c-{number}"), call("RESULT", f"c-{number}")]
    recorder, _ = recorded([*events, {**FINISHED, **finished}])
    return StoredRun(1, "r", "a", recorder.records(), None, frozenset())


@resumed
def interrupts_calls_and_results_of_the_thread(size: int) -> Callable[[], object]:
    interrupts = [{"id": f"i-{number}", "reason": "confirm"} for number in range(size)]
    run = stored_run(size, outcome={"type": "interrupt", "interrupts": interrupts})

    def look_up() -> None:
        stored = StoredInterrupts([run])
        assert len(stored.open("a")) == size
        for number in range(size):
            assert not stored.is_over(f"i-{number}")
            assert stored.find_call(f"c-{number}")
            assert stored.find_result(f"c-{number}")

    return look_up


@resumed
def calls_that_the_client_sends_back(size: int) -> Callable[[], object]:
    calls = [ToolCall(id=f"c-{number}", function=FunctionCall(name="other", arguments="{}")) for number in range(size)]
    messages = [AssistantMessage(id="m", role="assistant", tool_calls=calls)]
    run = stored_run(size)
    return lambda: changed_calls([f"c-{number}" for number in range(size)], messages, StoredInterrupts([run]))


@resumed
def calls_that_wait_for_no_response(size: int) -> Callable[[], object]:
    calls = [ToolCall(id=f"i-{number}", function=FunctionCall(name="other", arguments="{}")) for number in range(size)]
    results = [
        ToolMessage(id=f"m-{number}", role="tool", tool_call_id=f"i-{number}", content="no") for number in range(size)
    ]
    messages = [AssistantMessage(id="m", role="assistant", tool_calls=calls), *results]
    entries = [{"interruptId": f"i-{number}", "status": "resolved"} for number in range(size)]

    async def resolve() -> None:
        toolbox = Toolbox((), (), debug=False)
        async for _ in Resumption(entries, messages, toolbox, None).resolve():
            pass

    return lambda: asyncio.run(resolve())


@pytest.mark.requirement("COST-01")
@pytest.mark.parametrize("name", RESUMED)
def test_resume_entries(name: str) -> None:
    assert_linear(RESUMED[name])


@pytest.mark.requirement("COST-01")
def test_log_lines_of_resume_entries_and_tools_are_few(caplog: pytest.LogCaptureFixture) -> None:
    size = 100
    calls_that_wait_for_no_response(size)()
    calls = [ToolCall(id=f"i-{number}", function=FunctionCall(name="ask", arguments="{}")) for number in range(size)]
    asking = Tool(name="ask", description="", parameters={}, call=print, interrupt=None)
    entries = [{"interruptId": f"i-{number}", "status": "resolved"} for number in range(size)]
    context = RunContext(open_interrupts={f"i-{number}": {} for number in range(size)})

    async def resolve() -> None:
        tools = [FrontendTool(name=f"t-{number}", description="", parameters={}) for number in range(size)]
        server = [Tool(name=f"t-{n}", description="", parameters={}, call=print) for _ in range(2) for n in range(size)]
        toolbox = Toolbox((asking, *server), tools, debug=False)
        messages = [AssistantMessage(id="m", role="assistant", tool_calls=calls)]
        results = [result async for result in Resumption(entries, messages, toolbox, context).resolve()]
        assert len(results) == size

    asyncio.run(resolve())
    interrupts = [{"id": f"i-{number}", "reason": "confirm", "expiresAt": "soon"} for number in range(size)]
    run = stored_run(size, outcome={"type": "interrupt", "interrupts": interrupts})
    assert not StoredInterrupts([run]).open("a")
    assert len(caplog.records) == 5
    assert all(len(record.getMessage()) < 1000 for record in caplog.records)


RECORDED: Mapping[str, Callable[[int], list[Event]]] = {
    **{name: FOLDED[name] for name in ("messages", "messages with deltas", "calls of one parent")},
    "events while many messages are open": lambda size: [
        *(text("START", f"m-{index}") for index in range(size)),
        *(custom() for _ in range(size)),
    ],
    "ends of many messages": lambda size: [
        *(text("START", f"m-{index}") for index in range(size)),
        *(text("END", f"m-{index}") for index in range(size)),
    ],
    "ends of many messages with followers, last one first": lambda size: [
        *(text("START", f"m-{index}") for index in range(size)),
        *(event for index in reversed(range(size)) for event in (custom(), text("END", f"m-{index}"))),
    ],
}


@pytest.mark.requirement("COST-01")
@pytest.mark.parametrize("name", RECORDED)
def test_recording_and_compaction(name: str) -> None:
    def prepare(size: int) -> Callable[[], object]:
        events = [STARTED, *RECORDED[name](size)]
        return lambda: recorded(events)[0].records()

    assert_linear(prepare)


@pytest.mark.requirement("COST-01")
def test_recording_deltas_of_many_calls_in_turns() -> None:
    def prepare(size: int) -> Callable[[], object]:
        calls = [f"c-{index}" for index in range(size)]
        recorder = recorded([STARTED, *(call("START", identity) for identity in calls)])[0]
        deltas = [call("ARGS", identity) for identity in calls]
        return lambda: [recorder.feed(delta) for delta in deltas]

    assert_linear(prepare, 400)


class NoProvider(openai.AsyncOpenAI):
    """A client of the SDK that sends nothing, but keeps what it would have sent."""

    body: Mapping[str, Any]

    async def request(self, cast_to: Any, options: Any, **more: Any) -> Any:
        self.body = {**options.json_data, **(options.extra_json or {})}
        raise openai.APIError("nothing was sent", request=None, body=None)  # type: ignore[arg-type]


@pytest.mark.requirement("COST-01")
@pytest.mark.parametrize("content", ["some words", [TextInputContent(type="text", text="some words")] * 3], ids=type)
def test_builtin_agent_takes_few_steps_per_message(content: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the event loop. With the SDK's comparison of parameters and types it was 3,600 and 11,400."""
    monkeypatch.setattr(completion_request, "COMPARED_ITEMS", 3)
    client = NoProvider(api_key="k")
    agent = BuiltInAgent("any", client=client)

    def steps(size: int) -> int:
        messages = [UserMessage(id=f"m-{number}", role="user", content=content) for number in range(size)]

        async def run() -> None:
            assert [event["type"] async for event in agent.run(run_input(*messages))] == ["RUN_STARTED", "RUN_ERROR"]

        asyncio.run(run())
        assert len(client.body["messages"]) == size
        return measure(lambda: asyncio.run(run())).steps

    assert (steps(40) - steps(10)) / 30 < 100


@pytest.mark.requirement("COST-01")
def test_builtin_agent_takes_few_steps_per_frontend_tool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completion_request, "COMPARED_ITEMS", 3)
    client = NoProvider(api_key="k")
    agent = BuiltInAgent("any", client=client)

    def steps(size: int) -> int:
        tools = [FrontendTool(name=f"tool{number}", description="d", parameters={}) for number in range(size)]
        given = run_input().model_copy(update={"tools": tools})

        async def run() -> None:
            assert [event["type"] async for event in agent.run(given)] == ["RUN_STARTED", "RUN_ERROR"]

        asyncio.run(run())
        assert len(client.body["tools"]) == size + 2  # those that change the state
        return measure(lambda: asyncio.run(run())).steps

    assert (steps(40) - steps(10)) / 30 < 200


def test_prompt_size_is_near_that_of_a_state_nested_deeply() -> None:
    state: Any = [1] * 1000
    for _ in range(150):
        state = [state]
    assert len(build_system_prompt("", (), state, state_tools=False)) < 2500
