"""What an application changes of its runtime after it was created, which holds for the next request."""

from __future__ import annotations

from typing import Any

from copilot_runtime import CopilotRuntime, ForwardHeaders
from copilot_runtime.testing import TestClient


def test_runtime_changes_hold_for_the_next_request() -> None:
    seen: list[dict[str, str]] = []

    async def agent(input: Any, context: Any) -> Any:
        seen.append(dict(context.headers))
        yield {"type": "RUN_STARTED", "threadId": input.thread_id, "runId": input.run_id}
        yield {"type": "RUN_FINISHED", "threadId": input.thread_id, "runId": input.run_id}

    runtime = CopilotRuntime(agents={"a": agent})
    with TestClient(runtime, headers={"x-tenant": "t", "authorization": "secret"}) as client:
        client.run("a")
        runtime.forward_headers = ForwardHeaders(deny=["authorization"])
        client.run("a")
        assert runtime.forward_headers.deny == ("authorization",)
        runtime.max_body_bytes = 10
        refused = client.request("POST", "/agent/a/run", json={"text": "more than ten bytes"}, check=False)
    assert [set(headers) for headers in seen] == [{"x-tenant", "authorization"}, {"x-tenant"}]
    assert (refused.status, runtime.max_body_bytes) == (413, 10)
    assert "10 bytes" in refused.json()["message"]
