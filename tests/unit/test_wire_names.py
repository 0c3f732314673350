"""Members of a run input have the names of the wire, not those of Python, which hooks do not look for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from ag_ui.core import RunAgentInput
from hypothesis import given
from hypothesis import strategies as st

from copilot_runtime import CopilotRuntime, InputLimits
from copilot_runtime._server.endpoints import wire_names
from copilot_runtime._server.endpoints.run_input import parse_input
from copilot_runtime._server.errors import InvalidRunInput
from copilot_runtime.testing import TestClient

pytestmark = pytest.mark.requirement("BODY-08")

CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
URL = {"type": "url", "value": "https://a.example/b.png"}


def message(role: str, **members: Any) -> dict[str, Any]:
    return {"messages": [{"id": "m", "role": role, "content": "x", **members}]}


PYTHON_NAMES: Mapping[str, tuple[dict[str, Any], str]] = {
    "thread_id": ({"thread_id": "other"}, "threadId"),
    "run_id": ({"run_id": "other"}, "runId"),
    "parent_run_id": ({"parent_run_id": "other"}, "parentRunId"),
    "forwarded_props": ({"forwarded_props": {"toolChoice": "f"}}, "forwardedProps"),
    "messages.0.tool_calls": (message("assistant", tool_calls=[CALL]), "toolCalls"),
    "messages.0.tool_call_id": (message("tool", toolCallId="c", tool_call_id="d"), "toolCallId"),
    "messages.0.encrypted_value": (message("user", encrypted_value="e"), "encryptedValue"),
    "messages.0.toolCalls.0.encrypted_value": (
        message("assistant", toolCalls=[{**CALL, "encrypted_value": "e"}]), "encryptedValue",
    ),
    "messages.0.content.0.source.mime_type": (
        message("user", content=[{"type": "image", "source": {**URL, "mime_type": "text/html"}}]), "mimeType",
    ),
}  # fmt: skip

BOTH = {"threadId": "t", "runId": "r", "messages": []}


@pytest.mark.parametrize("escaped", [False, True], ids=["plain", "escaped"])
@pytest.mark.parametrize("place", PYTHON_NAMES)
def test_run_input_members_by_their_python_names_are_refused(place: str, escaped: bool) -> None:
    members, wire_name = PYTHON_NAMES[place]
    body = json.dumps({**BOTH, **members})
    if escaped:
        name = place.rpartition(".")[2]
        body = body.replace(f'"{name}"', f'"\\u{ord(name[0]):04x}{name[1:]}"')
    with pytest.raises(InvalidRunInput) as raised:
        parse_input(body.encode(), InputLimits())
    assert str(raised.value) == f"{place}: send it as {wire_name}"


@pytest.mark.skipif("resume" not in RunAgentInput.model_fields, reason="AG-UI before 0.1.19 has no model for it")
def test_resume_entry_under_its_name_in_python_is_refused() -> None:
    """Or it would be another response than the one that a hook has seen, and than the one that is recorded."""
    entry = {"interrupt_id": "i1", "interruptId": "i2", "status": "resolved", "payload": "yes"}
    with pytest.raises(InvalidRunInput, match=r"resume\.0\.interrupt_id: send it as interruptId"):
        parse_input(json.dumps({**BOTH, "resume": [entry]}).encode(), InputLimits())


@pytest.mark.parametrize("missing", ["threadId", "runId"])
def test_run_input_with_a_python_name_instead_of_the_wire_name_is_refused(missing: str) -> None:
    name = {"threadId": "thread_id", "runId": "run_id"}[missing]
    body = {name if member == missing else member: value for member, value in BOTH.items()}
    with pytest.raises(InvalidRunInput, match=f"{name}: send it as {missing}"):
        parse_input(json.dumps(body).encode(), InputLimits())


NAMES = sorted(set(wire_names._all_names()))


@given(
    st.lists(st.sampled_from(['"', "_", "\\\\", "\\u00", "a", *NAMES, *(f'"{name}"' for name in NAMES)]), max_size=6)
)
def test_run_input_members_are_looked_at_if_a_python_name_may_be_in_the_body(pieces: list[str]) -> None:
    body = "".join(pieces)
    assert wire_names._may_occur(body.encode()) == ("\\u00" in body or any(f'"{name}"' in body for name in NAMES))


def test_run_input_values_of_the_application_may_have_python_names() -> None:
    own = {"thread_id": 1, "tool_calls": [{"mime_type": "x"}]}
    members = {
        "state": own,
        "forwardedProps": own,
        "tools": [{"name": "f", "description": "", "parameters": {"type": "object", "properties": own}}],
        **message("activity", activityType="PLAN", content=own),
    }
    model = parse_input(json.dumps({**BOTH, **members}).encode(), InputLimits()).model
    assert (model.state, model.forwarded_props) == (own, own)


async def agent(input: RunAgentInput) -> Any:
    yield {"type": "RUN_STARTED", "threadId": input.thread_id, "runId": input.run_id}
    yield {"type": "RUN_FINISHED", "threadId": input.thread_id, "runId": input.run_id}


@pytest.mark.parametrize("endpoint", ["run", "connect", "suggest"])
def test_python_names_get_400_from_each_endpoint_with_a_run_input(endpoint: str) -> None:
    with TestClient(CopilotRuntime(agents={"a": agent})) as client:
        body = {"thread_id": "t", "runId": "r", "messages": []}
        response = client.request("POST", f"/agent/a/{endpoint}", json=body, check=False)
        assert (response.status, response.json()["details"]) == (400, "thread_id: send it as threadId")
        envelope = {"method": f"agent/{endpoint}", "params": {"agentId": "a"}, "body": body}
        response = client.request("POST", "", json=envelope, check=False)
        assert (response.status, response.json()["details"]) == (400, "thread_id: send it as threadId")
