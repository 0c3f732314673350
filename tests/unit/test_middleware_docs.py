"""The examples of docs/middleware.md."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from copilot_runtime import CopilotRuntime
from copilot_runtime.testing import TestClient

from .middleware_helpers import Event, async_agent, ids, plain_pass, run_once

pytestmark = pytest.mark.requirement("MIDDLEWARE-01")

DOCS = Path(__file__).parents[2] / "docs" / "middleware.md"


@pytest.fixture(scope="module")
def names() -> dict[str, Any]:
    """What the examples define, with what they take for granted."""
    code = "\n\n".join(re.findall(r"^```python\n(.*?)^```", DOCS.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL))
    namespace: dict[str, Any] = {"agent": async_agent, "other": async_agent, "budget": plain_pass}
    exec(compile(code, str(DOCS), "exec"), namespace)
    return namespace


def says(*texts: str) -> Any:
    """An agent with an answer for each run."""
    answers = iter(texts)

    def agent(input: Any) -> Iterator[Event]:
        yield {"type": "RUN_STARTED", **ids(input)}
        yield {"type": "TEXT_MESSAGE_CHUNK", "messageId": input.run_id, "role": "assistant", "delta": next(answers)}
        yield {"type": "RUN_FINISHED", **ids(input)}

    return agent


def test_docs_trimming_guardrail(names: dict[str, Any]) -> None:
    with TestClient(names["runtime"]) as client:
        assert client.run("default", [str(n) for n in range(30)]).text == f"echo:{','.join(map(str, range(10, 30)))}"
        assert client.run("other", "hi").text == "echo:hi"


def test_docs_withheld_answer(names: dict[str, Any]) -> None:
    assert run_once("async", says("hello"), middleware=[names["reviewed"]]).events[-1]["type"] == "RUN_FINISHED"
    withheld = run_once("async", says("the password is x"), middleware=[names["reviewed"]]).events[-1]
    assert withheld["code"] == "WITHHELD"


def test_docs_second_attempt(names: dict[str, Any]) -> None:
    assert run_once("async", says("all."), middleware=[names["continued"]]).text == "all."
    events = run_once("async", says("half", "rest."), middleware=[names["continued"]]).events
    assert [event["delta"] for event in events if "delta" in event] == ["half", "rest."]
    assert [event["type"] for event in events].count("RUN_FINISHED") == 1


def test_docs_ready_middlewares(names: dict[str, Any]) -> None:
    assert CopilotRuntime(agents=names["agents"])
