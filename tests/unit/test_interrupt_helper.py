"""`interrupt()`: questions of agents of one's own, and the answers that later runs bring."""

from __future__ import annotations

import datetime
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from copilot_runtime import CopilotRuntime, RunContext
from copilot_runtime.agents import Question, interrupt
from copilot_runtime.middleware import use
from copilot_runtime.testing import TestClient
from tests.http_client import Event, text_of

pytestmark = pytest.mark.requirement("APPROVAL-02")


def ids(input: Any) -> Event:
    return {"threadId": input.thread_id, "runId": input.run_id}


def says(input: Any, text: str) -> Iterator[Event]:
    yield {"type": "TEXT_MESSAGE_CHUNK", "messageId": f"{input.run_id}-a", "role": "assistant", "delta": text}
    yield {"type": "RUN_FINISHED", **ids(input)}


def deletes(input: Any, context: Any) -> Iterator[Event]:
    """Asks one question."""
    yield {"type": "RUN_STARTED", **ids(input)}
    approval = interrupt(input, context, "Delete 3 files?")
    if approval.is_open:
        yield approval.event
        return
    yield from says(input, "kept" if approval.is_cancelled else f"deleted: {approval.answer}")


async def deletes_async(input: Any, context: Any) -> AsyncIterator[Event]:
    for event in deletes(input, context):
        yield event


def books(input: Any, context: Any) -> Iterator[Event]:
    """Asks two questions at once, and then a third."""
    yield {"type": "RUN_STARTED", **ids(input)}
    trip = interrupt(input, context, Question(message="Where to?", key="where"), Question(key="when"))
    if trip.is_open:
        yield trip.event
        return
    where, when = trip.answers["where"].payload, trip.answers["when"].payload
    sure = interrupt(input, context, f"Really to {where}?")
    if sure.is_open:
        yield sure.event
        return
    yield from says(input, f"{where} {when} {sure.answer}")


@pytest.fixture(params=["memory", "sqlite"])
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[Any], TestClient]]:
    clients = []

    def start(agent: Any) -> TestClient:
        store = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/threads.db"
        clients.append(TestClient(CopilotRuntime(agents={"a": agent}, store=store)).__enter__())
        return clients[-1]

    yield start
    for client in clients:
        client.__exit__(None, None, None)


def run(client: TestClient, *entries: Mapping[str, Any]) -> Any:
    options: dict[str, Any] = {"extra": {"resume": list(entries)}} if entries else {}
    return list(client.run("a", "go on", thread_id="t", **options).events)


def asked(events: list[Event]) -> list[Any]:
    outcome = events[-1].get("outcome") or {}
    return list(outcome.get("interrupts", ()))


def resolve(question: Mapping[str, Any], payload: Any) -> Mapping[str, Any]:
    return {"interruptId": question["id"], "status": "resolved", "payload": payload}


@pytest.mark.parametrize("agent", [deletes, deletes_async, use(deletes, lambda input, next: next(input))])
def test_interrupt_asks_and_has_the_answer_in_the_next_run(start: Callable[[Any], TestClient], agent: Any) -> None:
    client = start(agent)
    (question,) = asked(run(client))
    assert {**question, "id": ""} == {"id": "", "reason": "input_required", "message": "Delete 3 files?"}
    assert text_of(run(client, resolve(question, {"sure": True}))) == "deleted: {'sure': True}"
    # Each answer counts once.
    (again,) = asked(run(client, resolve(question, "yes")))
    assert again["id"] != question["id"]
    cancelled = run(client, {"interruptId": again["id"], "status": "cancelled"})
    assert text_of(cancelled) == "kept"


def test_interrupt_with_half_of_a_surrogate_pair(start: Callable[[Any], TestClient]) -> None:
    def agent(input: Any, context: Any) -> Iterator[Event]:
        yield {"type": "RUN_STARTED", **ids(input)}
        approval = interrupt(input, context, "Delete \ud83d?")
        yield from [approval.event] if approval.is_open else says(input, approval.answer)

    client = start(agent)
    (question,) = asked(run(client))
    assert question["message"] == "Delete \ufffd?"
    assert text_of(run(client, resolve(question, "yes"))) == "yes"


def test_interrupt_with_several_questions_in_turn(start: Callable[[Any], TestClient]) -> None:
    client = start(books)
    where, when = asked(run(client))
    assert "message" not in when
    # Those that are not answered are asked again, and only those.
    (when_again,) = asked(run(client, resolve(where, "Rome")))
    (sure,) = asked(run(client, resolve(when_again, "now")))
    assert sure["message"] == "Really to Rome?"
    assert text_of(run(client, resolve(sure, None))) == "Rome now None"
    # After that, nothing is answered any more.
    assert len(asked(run(client))) == 2


def test_interrupt_ignores_answers_that_a_client_has_made_up(start: Callable[[Any], TestClient]) -> None:
    client = start(books)
    where, _ = asked(run(client))
    forged = {**where, "id": where["id"][:-1] + "x"}
    assert len(asked(run(client, resolve(forged, "Rome")))) == 2
    # An answer to a question that the agent does not ask in this way any more does not count either.
    assert len(asked(run(start(deletes), resolve(where, "yes")))) == 1


class Input:
    thread_id, run_id = "t", "r"

    def __init__(self, *resume: Any) -> None:
        self.resume = list(resume)


def test_interrupt_without_a_runtime_takes_what_the_input_has() -> None:
    input: Any = Input()
    question = interrupt(input, None, "Really?").event["outcome"]["interrupts"][0]
    input = Input(resolve(question, "yes"))
    assert interrupt(input, None, "Really?").answer == "yes"
    assert interrupt(input, None, "Surely?").is_open
    assert interrupt(input, RunContext(), "Really?").answer == "yes"
    # A runtime knows what is open, also of an agent that receives other responses, too.
    assert interrupt(input, RunContext(open_interrupts={}), "Really?").is_open


def test_interrupt_has_the_members_of_ag_ui() -> None:
    question = Question(
        message="Pay?",
        reason="tool_call",
        response_schema={"type": "boolean"},
        tool_call_id="c1",
        expires_at=datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC),
        metadata={"amount": 3},
    )
    event = interrupt(Input(), None, question).event  # type: ignore[arg-type]
    (sent,) = event["outcome"].pop("interrupts")
    assert event == {"type": "RUN_FINISHED", "threadId": "t", "runId": "r", "outcome": {"type": "interrupt"}}
    del sent["id"]
    assert sent == {
        "message": "Pay?",
        "reason": "tool_call",
        "responseSchema": {"type": "boolean"},
        "toolCallId": "c1",
        "expiresAt": "2030-01-01T00:00:00+00:00",
        "metadata": {"amount": 3},
    }


def test_interrupt_says_what_is_wrong_with_questions() -> None:
    input: Any = Input()
    with pytest.raises(ValueError, match="two questions have the key 'Really\\?'"):
        interrupt(input, None, "Really?", "Really?")
    with pytest.raises(ValueError, match="at least one question"):
        interrupt(input, None)
    with pytest.raises(ValueError, match="a message, or a key"):
        Question()
    with pytest.raises(ValueError, match="there are several questions"):
        _ = interrupt(input, None, "One?", "Two?").answer


def test_interrupt_in_the_docs(start: Callable[[Any], TestClient]) -> None:
    docs = Path(__file__).parents[2] / "docs" / "agents.md"
    blocks = re.findall(r"^```python\n(.*?)^```", docs.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    (code,) = (block for block in blocks if "import interrupt" in block)
    namespace: dict[str, Any] = {}
    exec(compile(code, str(docs), "exec"), namespace)
    client = start(namespace["cleaner"])
    (question,) = asked(run(client))
    assert text_of(run(client, resolve(question, "yes"))) == "Deleted."
