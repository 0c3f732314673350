"""`CopilotRuntime(thread_names=...)`: new threads get names, once, in the background."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from copilot_runtime import CopilotRuntime, EndedRun, RunContext
from copilot_runtime._concurrency.driver import run_sync
from copilot_runtime._engine.thread_names import MAX_NAME_LENGTH, to_name
from copilot_runtime.testing import AsyncTestClient, TestClient
from tests.http_client import Event

from .engine_helpers import bounded

pytestmark = pytest.mark.requirement("THREADS-11")

TITLE = "Weather in Rome"


def ids(input: Any) -> Event:
    return {"threadId": input.thread_id, "runId": input.run_id}


class Agent:
    """Says something, or gives a title where it is asked for one."""

    def __init__(self) -> None:
        self.inputs: list[Any] = []

    @property
    def asked(self) -> list[Any]:
        """The inputs of the runs that have asked for a title."""
        return [input for input in self.inputs if input.tools]

    def run(self, input: Any, context: RunContext) -> Iterator[Event]:
        self.inputs.append(input)
        yield {"type": "RUN_STARTED", **ids(input)}
        yield from self.says(input)
        yield {"type": "RUN_FINISHED", **ids(input)}

    def says(self, input: Any) -> Iterator[Event]:
        text = f'**"{TITLE}"**\n\nIs that fine?' if input.tools else "It is sunny."
        yield {"type": "TEXT_MESSAGE_CHUNK", "messageId": f"{input.run_id}-a", "role": "assistant", "delta": text}


class Calling(Agent):
    """Calls the tool, beside what it says."""

    def says(self, input: Any) -> Iterator[Event]:
        if input.tools:
            yield {"type": "TOOL_CALL_START", "toolCallId": "c", "toolCallName": input.tools[0].name}
            yield {"type": "TOOL_CALL_ARGS", "toolCallId": "c", "delta": f'{{"name": "{TITLE}"}}'}
            yield {"type": "TOOL_CALL_END", "toolCallId": "c"}
            yield {"type": "TEXT_MESSAGE_CHUNK", "messageId": "m", "role": "assistant", "delta": "Here you are."}
        else:
            yield from super().says(input)


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/threads.db"


async def drained(runtime: CopilotRuntime) -> None:
    """Waits until nothing is done in the background any more, as the end of a server does."""
    await runtime.engine._run_end_notifier.drain(lambda loop: True, time.monotonic() + 20)


def drain(runtime: CopilotRuntime) -> None:
    run_sync(drained(runtime))


class Names:
    """The names of threads, once nothing is done in the background any more."""

    def __init__(self, client: TestClient) -> None:
        self.client = client

    def run(self, thread: str = "t", text: str = "How is the weather?", agent: str = "a", **options: Any) -> None:
        self.client.run(agent, text, thread_id=thread, check=False, **options)
        drain(self.client.runtime)

    @property
    def now(self) -> dict[str, str | None]:
        threads = self.client.request("GET", "/threads").json()["threads"]
        return {each["id"]: each["name"] for each in threads}


@pytest.fixture
def start(store: str) -> Iterator[Callable[..., Names]]:
    clients = []

    def start(agent: Any, thread_names: Any, **options: Any) -> Names:
        options = {"single_user": True, "store": store, **options}
        runtime = CopilotRuntime(agents={"a": agent}, thread_names=thread_names, **options)
        clients.append(TestClient(runtime).__enter__())
        return Names(clients[-1])

    yield start
    for client in clients:
        client.__exit__(None, None, None)


@pytest.mark.parametrize("kind", [Agent, Calling])
def test_thread_names_asks_the_agent_of_the_thread(start: Callable[..., Names], kind: Callable[[], Agent]) -> None:
    agent = kind()
    names = start(agent, True)
    names.run()
    assert names.now == {"t": TITLE}
    (asked,) = agent.asked
    assert [message.content for message in asked.messages[:-1]] == ["How is the weather?", "It is sunny."]
    assert "title" in asked.messages[-1].content
    assert asked.forwarded_props["toolChoice"]["function"]["name"] == asked.tools[0].name
    # Once, and without a trace.
    names.run()
    assert len(agent.asked) == 1
    assert asked.thread_id != "t"
    assert names.now == {"t": TITLE}
    events = names.client.request("GET", "/threads/t/events").json()["events"]
    assert TITLE not in str(events) + str(names.client.request("GET", "/threads/t/messages").json())


def test_thread_names_asks_another_agent(start: Callable[..., Names]) -> None:
    agent, namer = Agent(), Calling()
    names = start(agent, namer)
    names.run()
    assert names.now == {"t": TITLE}
    assert (len(agent.inputs), len(namer.inputs)) == (1, 1)


def test_thread_names_asks_about_texts_only(start: Callable[..., Names]) -> None:
    class Looking(Agent):
        def says(self, input: Any) -> Iterator[Event]:
            if not input.tools:
                yield {"type": "TOOL_CALL_START", "toolCallId": "open", "toolCallName": "look"}
                yield {"type": "TOOL_CALL_END", "toolCallId": "open"}
            yield from super().says(input)

    agent = Looking()
    names = start(agent, True)
    content = [
        {"type": "text", "text": "See"},
        {"type": "image", "source": {"type": "url", "value": "https://x/y.png"}},
    ]
    names.client.run("a", [{"id": "u", "role": "user", "content": content}], thread_id="t")
    drain(names.client.runtime)
    assert [(m.role, m.content) for m in agent.asked[0].messages[:-1]] == [
        ("user", "See"),
        ("assistant", "It is sunny."),
    ]
    assert names.now == {"t": TITLE}


def test_thread_names_asks_about_the_beginning_of_a_long_past(start: Callable[..., Names]) -> None:
    agent = Agent()
    texts = [str(number) for number in range(100)]
    names = start(agent, True)
    names.client.run("a", texts, thread_id="t")
    drain(names.client.runtime)
    (asked,) = agent.asked
    assert [message.content for message in asked.messages[:-1]] == texts[:20]


def test_thread_names_asks_the_agent_without_a_user_interface(start: Callable[..., Names]) -> None:
    pytest.importorskip("ag_ui_a2ui_toolkit")
    agent = Agent()
    names = start(agent, True)
    names.run(forwarded_props={"a2uiCatalogAvailable": True})
    first, asked = agent.inputs
    assert [tool.name for tool in first.tools] == ["render_a2ui"]
    assert [tool.name for tool in asked.tools] == ["nameThread"]
    assert not asked.context


def plain(input: Any) -> str:
    return f" {input.messages[0].content}\t{input.messages[1].content} "


def with_context(input: Any, context: RunContext) -> str:
    assert context.body["messages"][0]["content"] == input.messages[0].content
    return plain(input)


async def coroutine(input: Any, context: RunContext) -> str:
    return plain(input)


async def generator(input: Any) -> AsyncIterator[Event]:
    yield {"type": "RUN_STARTED", **ids(input)}
    yield {"type": "TEXT_MESSAGE_CHUNK", "messageId": "m", "role": "assistant", "delta": plain(input)}
    yield {"type": "RUN_FINISHED", **ids(input)}


@pytest.mark.parametrize("function", [plain, with_context, coroutine, generator, lambda input: coroutine(input, None)])  # type: ignore[arg-type]
def test_thread_names_calls_a_function(start: Callable[..., Names], function: Any) -> None:
    names = start(Agent(), function)
    names.run()
    assert names.now == {"t": "How is the weather? It is sunny."}


def test_thread_names_calls_a_function_once_whatever_it_returns(start: Callable[..., Names]) -> None:
    called: list[str] = []

    def nothing(input: Any) -> None:
        called.append(input.thread_id)

    names = start(Agent(), nothing)
    for thread in ("t", "t", "u", "t"):
        names.run(thread)
    assert names.now == {"t": None, "u": None}
    assert len(called) == 2


def test_thread_names_are_found_once_by_several_processes(start: Callable[..., Names], tmp_path: Path) -> None:
    called: list[str] = []

    def nothing(input: Any) -> None:
        called.append(input.thread_id)

    processes = [start(Agent(), nothing, store=f"sqlite:///{tmp_path}/shared.db") for _ in range(2)]
    for names in (*processes, *processes):
        names.run()
    assert len(called) == 1


def test_thread_names_logs_what_fails(start: Callable[..., Names], caplog: pytest.LogCaptureFixture) -> None:
    def broken(input: Any) -> str:
        raise RuntimeError("no name today")

    names = start(Agent(), broken)
    names.run()
    names.run()
    assert names.now == {"t": None}
    assert caplog.text.count("RuntimeError: no name today") == 1


@pytest.mark.parametrize("said", [False, True])
def test_thread_names_waits_for_a_run_that_does_not_fail(start: Callable[..., Names], said: bool) -> None:
    class Failing(Agent):
        def says(self, input: Any) -> Iterator[Event]:
            if said:
                yield from super().says(input)
            if len(self.inputs) == 1:
                raise RuntimeError("not yet")
            if not said:
                yield from super().says(input)

    agent = Failing()
    names = start(agent, True)
    names.run()
    assert names.now == {"t": None}
    assert agent.asked == []
    names.run()
    assert names.now == {"t": TITLE}
    names.run()
    assert len(agent.asked) == 1


def test_thread_names_keeps_the_name_that_a_user_has_given(start: Callable[..., Names]) -> None:
    asked, answered = threading.Event(), threading.Event()

    def slow(input: Any) -> str:
        asked.set()
        assert answered.wait(20)
        return "too late"

    names = start(Agent(), slow)
    names.client.run("a", "hi", thread_id="t")
    assert asked.wait(20)
    assert names.client.request("PATCH", "/threads/t", {"agentId": "a", "name": "Mine"}).status == 200
    answered.set()
    drain(names.client.runtime)
    assert names.now == {"t": "Mine"}


def test_thread_names_runs_are_none_of_the_users(start: Callable[..., Names]) -> None:
    ended: list[EndedRun] = []
    names = start(Agent(), True, on_run_end=ended.append, max_runs_per_user=1)
    names.run()
    assert [run.thread_id for run in ended] == ["t"]
    assert names.now == {"t": TITLE}


def test_thread_names_without_room_for_a_run(start: Callable[..., Names], caplog: pytest.LogCaptureFixture) -> None:
    class Talking(Agent):
        def says(self, input: Any) -> Iterator[Event]:
            yield {"type": "TEXT_MESSAGE_CHUNK", "messageId": "m", "role": "assistant", "delta": "x" * 100_000}

    names = start(Talking(), plain, max_runs_bytes=250_000)
    names.run()
    assert names.now == {"t": None}
    assert "thread 't' has no name, since there may be no further run" in caplog.text


def test_thread_names_of_a_thread_without_a_word_of_the_user(start: Callable[..., Names]) -> None:
    agent = Agent()
    names = start(agent, True)
    names.client.run("a", [], thread_id="t")
    drain(names.client.runtime)
    assert agent.asked == []


@bounded
async def test_thread_names_on_an_event_loop(store: str) -> None:
    named = asyncio.Event()

    async def name(input: Any) -> str:
        named.set()
        return TITLE

    runtime = CopilotRuntime(agents={"a": Agent()}, store=store, single_user=True, thread_names=name)
    async with AsyncTestClient(runtime) as client:
        await client.run("a", "hi", thread_id="t")
        await named.wait()
        await drained(runtime)
        assert (await client.request("GET", "/threads")).json()["threads"][0]["name"] == TITLE


@pytest.mark.parametrize(
    ("setting", "error", "words"),
    [
        (3, TypeError, "must be True, the name of a model, an agent, or a function"),
        (Agent, TypeError, "use an instance of it"),
        (lambda: "", TypeError, "must accept"),
        ("no model", ValueError, "thread_names='no model': must be the name of a model"),
    ],
)
def test_thread_names_of_another_kind_are_refused(setting: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        CopilotRuntime(agents={"a": Agent()}, thread_names=setting)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Weather", "Weather"),
        ("  # Weather \n more", "Weather"),
        ('\n"Weather in\tRome"\n', "Weather in Rome"),
        ("**\u201cWeather\u201d**", "Weather"),
        ("Say 'hi' to it", "Say 'hi' to it"),
        (' \n "" ', ""),
        ("", ""),
        ("C#", "C#"),
        ("x" * 200, "x" * (MAX_NAME_LENGTH - 1) + "…"),
        # Which would take minutes if the steps grew with the square of the length: a user may ask for such a title.
        ("a" + " " * 300_000 + "b", "a b"),
        ("*" * 300_000 + "a" + "*" * 300_000 + "b", "a" + "*" * (MAX_NAME_LENGTH - 2) + "…"),
    ],
)
def test_thread_names_are_one_line_without_markup(text: str, name: str) -> None:
    assert to_name(text) == name
