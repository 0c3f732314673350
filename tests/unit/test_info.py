"""``/info`` is kept, and shows what its agents are all the same."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from ag_ui.core import RunAgentInput
from pydantic import BaseModel

from copilot_runtime import CopilotRuntime, Request, Response, create_copilot_runtime_handler
from copilot_runtime._concurrency.driver import run_sync
from copilot_runtime.testing import TestClient

pytestmark = pytest.mark.requirement("INFO-01")


class Model(BaseModel):
    tools: bool = True


class DescribedAgent:
    def __init__(self, capabilities: Any = None) -> None:
        self.description = "before"
        self.capabilities = capabilities

    async def run(self, input: RunAgentInput) -> AsyncIterator[Mapping[str, Any]]:
        yield {"type": "RUN_FINISHED", "threadId": input.thread_id, "runId": input.run_id}


class Transcription:
    async def transcribe(self, audio: Any, filename: str, mime_type: str) -> str:
        return ""


def test_info_of_agents_that_do_not_change_is_one_response() -> None:
    runtime = CopilotRuntime(agents={"a": DescribedAgent(), "b": DescribedAgent({"tools": {}})})
    handler = create_copilot_runtime_handler(runtime=runtime)

    def respond() -> Response:
        return run_sync(handler(Request(method="GET", path="/info")))

    assert respond() is respond()


def test_info_shows_what_has_changed() -> None:
    changing, other = DescribedAgent({"a": [1]}), DescribedAgent()
    runtime = CopilotRuntime(agents={"a": changing, "b": other})
    with TestClient(runtime) as client:
        first = client.info()
        assert first["agents"]["a"] == {
            "name": "a",
            "description": "before",
            "className": "DescribedAgent",
            "capabilities": {"a": [1]},
        }
        assert "capabilities" not in first["agents"]["b"]
        changing.capabilities["a"].append({"b": 2.5})
        other.description = "after"
        runtime.transcription_service = Transcription()
        second = client.info()
        other.capabilities = Model()
        third = client.info()
    assert second["agents"]["a"]["capabilities"] == {"a": [1, {"b": 2.5}]}
    assert second["agents"]["b"]["description"] == "after"
    assert (first["audioFileTranscriptionEnabled"], second["audioFileTranscriptionEnabled"]) == (False, True)
    assert third["agents"]["b"]["capabilities"] == {"tools": True}


def test_info_leaves_out_a_value_that_json_cannot_hold(caplog: pytest.LogCaptureFixture) -> None:
    with TestClient(CopilotRuntime(agents={"a": DescribedAgent({"a": float("inf")})})) as client:
        assert "capabilities" not in client.info()["agents"]["a"]
    assert "did not report its capabilities" in caplog.text
