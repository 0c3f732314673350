"""``/info`` is kept, and shows what its agents are all the same."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from types import MappingProxyType
from typing import Any

import pytest
from ag_ui.core import RunAgentInput
from flask import Flask
from pydantic import BaseModel
from werkzeug.test import Client as WerkzeugClient

from copilot_runtime import (
    CopilotHandler,
    CopilotRuntime,
    HookContext,
    Request,
    Response,
    RuntimeHooks,
    User,
    create_copilot_runtime_handler,
)
from copilot_runtime._concurrency.driver import run_sync
from copilot_runtime.testing import TestClient
from copilot_runtime_flask import create_copilot_blueprint
from copilot_runtime_wsgi import create_copilot_wsgi_app

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


@pytest.mark.parametrize("depth", [10, 198, 220, 252, 300])
def test_info_with_deeply_nested_capabilities_lists_the_agent(depth: int) -> None:
    """Whatever cannot be encoded, or parsed again, is no reason to fail for all agents."""
    nested: Any = "innermost"
    for _ in range(depth):
        nested = [nested]
    handler = create_copilot_runtime_handler(runtime=CopilotRuntime(agents={"a": DescribedAgent({"a": nested})}))
    response = run_sync(handler(Request(method="GET", path="/info")))
    assert response.status == 200
    assert isinstance(response.body, bytes)
    listed = json.loads(response.body)["agents"]["a"]
    assert listed.get("capabilities", {"a": nested}) == {"a": nested}
    assert ("capabilities" in listed) == (depth < 253)


class ReportingAgent(DescribedAgent):
    async def get_capabilities(self) -> dict[str, Any]:
        return {"from": "function"}


class UnreadableAgent(DescribedAgent):
    """An agent with a property that fails."""

    @property
    def get_capabilities(self) -> Any:
        raise LookupError("no capabilities")


def identify(request: Request) -> User:
    return User(id="ada")


class Refusing:
    """A hook that is equal to whatever it is compared with."""

    def __call__(self, context: HookContext) -> Response:
        return Response(status=401)

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = object.__hash__


RUNTIMES: Mapping[str, Callable[[], dict[str, Any]]] = {
    "values": lambda: {"agents": {"a": DescribedAgent(), "b": DescribedAgent({"x": 1}), "c": DescribedAgent(Model())}},
    "no json": lambda: {"agents": {"a": DescribedAgent({"a": float("inf")}), "b": DescribedAgent(1)}},
    "unreadable": lambda: {"agents": {"a": UnreadableAgent({"x": 1})}},
    "text": lambda: {"agents": {"größe": DescribedAgent("ä")}, "transcription_service": Transcription()},
    "function": lambda: {"agents": {"a": DescribedAgent(), "b": ReportingAgent()}},
    "factory": lambda: {"agents": lambda context: {"a": DescribedAgent()}},
    "users": lambda: {"agents": {"a": DescribedAgent()}, "identify_user": identify, "thread_access": "read"},
    "one user": lambda: {"agents": {"a": DescribedAgent()}, "single_user": True},
}
WAITING = {"function", "factory", "users"}


@pytest.mark.parametrize("name", RUNTIMES)
def test_info_at_once_is_what_the_handler_responds(name: str) -> None:
    """Or None, where the request has to be looked at."""
    handler = create_copilot_runtime_handler(runtime=CopilotRuntime(**RUNTIMES[name]()), base_path="/api")
    at_once = handler.respond_at_once("GET", "/api/info", "")
    assert (at_once is None) == (name in WAITING)
    response = run_sync(handler(Request(method="GET", path="/api/info")))
    assert at_once in (None, response)
    assert response.status == 200


class EqualAgent(DescribedAgent):
    """An agent that is equal to all others of its class."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, EqualAgent)

    __hash__ = object.__hash__


def replace_agent(runtime: Any) -> None:
    other = EqualAgent()
    other.description = "other"
    runtime.agents = MappingProxyType({"a": other})


def replace_agents_by_a_dict(runtime: Any) -> None:
    runtime.agents = {"a": EqualAgent()}


def add_an_agent(runtime: Any) -> None:
    replace_agents_by_a_dict(runtime)
    runtime.agents["b"] = DescribedAgent()


def set_on_agent(name: str, value: Any) -> Callable[[Any], None]:
    return lambda runtime: setattr(runtime.agents["a"], name, value)


CHANGES: Mapping[str, Callable[[Any], None]] = {
    "description": set_on_agent("description", "after"),
    "no description": set_on_agent("description", None),
    "name": set_on_agent("__name__", "other"),
    "capabilities": set_on_agent("capabilities", {"x": 1}),
    "function": set_on_agent("get_capabilities", lambda: {"x": 1}),
    "property that fails": set_on_agent("__class__", UnreadableAgent),
    "agent": replace_agent,
    "dict": replace_agents_by_a_dict,
    "agents": add_an_agent,
    "transcription": lambda runtime: setattr(runtime, "transcription_service", Transcription()),
    "access": lambda runtime: setattr(runtime, "thread_access", "none"),
    "users": lambda runtime: setattr(runtime, "identify_user", identify),
    "factory": lambda runtime: setattr(runtime, "agents", lambda context: {"b": DescribedAgent()}),
}


@pytest.mark.parametrize("name", CHANGES)
def test_info_at_once_is_what_the_handler_responds_after_a_change(name: str) -> None:
    runtime = CopilotRuntime(agents={"a": EqualAgent()}, single_user=True)
    handler = create_copilot_runtime_handler(runtime=runtime)
    first = handler.respond_at_once("GET", "/info", "")
    assert handler.respond_at_once("GET", "/info", "") is first is not None
    CHANGES[name](runtime)
    for _ in range(2):
        at_once = handler.respond_at_once("GET", "/info", "")
        assert at_once in (None, run_sync(handler(Request(method="GET", path="/info"))))
        assert (at_once == first) == (name == "dict")


def test_info_at_once_shows_agents_that_are_added_behind_a_view() -> None:
    agents = {"a": DescribedAgent()}
    runtime = CopilotRuntime(agents=agents, single_user=True)
    runtime.agents = MappingProxyType(agents)
    handler = create_copilot_runtime_handler(runtime=runtime)
    first = handler.respond_at_once("GET", "/info", "")
    agents["b"] = DescribedAgent()
    second = handler.respond_at_once("GET", "/info", "")
    assert first != second == run_sync(handler(Request(method="GET", path="/info")))


@pytest.mark.parametrize(
    ("target", "options"),
    [
        (("GET", "/api/info", ""), {"hooks": RuntimeHooks(on_request=lambda context: None)}),
        (("GET", "/api/info", ""), {"hooks": RuntimeHooks(on_error=lambda context: None)}),
        (("GET", "/api/info", ""), {"hooks": RuntimeHooks(on_response=Refusing())}),
        (("GET", "/api/info", ""), {"cors": True}),
        (("GET", "/api/info", ""), {"mode": "single-route"}),
        (("GET", "/other/info", ""), {}),
        (("POST", "/api/info", ""), {}),
        (("HEAD", "/api/info", ""), {}),
        (("OPTIONS", "/api/info", ""), {}),
        (("GET", "/api/threads", ""), {}),
        (("GET", "/api/agent/a/run", ""), {}),
    ],
)
def test_info_at_once_is_for_its_route_alone(target: tuple[str, str, str], options: Any) -> None:
    runtime = CopilotRuntime(agents={"a": DescribedAgent()}, single_user=True)
    handler = create_copilot_runtime_handler(runtime=runtime, base_path="/api", **options)
    assert handler.respond_at_once(*target) is None


def wsgi_app(**options: Any) -> Any:
    return create_copilot_wsgi_app(base_path="/api", **options)


def flask_app(**options: Any) -> Any:
    app = Flask(__name__)
    app.register_blueprint(create_copilot_blueprint(**options), url_prefix="/api")
    return app


INFO_REQUESTS: Mapping[str, dict[str, Any]] = {
    "plain": {},
    "mounted": {"base_url": "http://localhost/site"},
    "head": {"method": "HEAD"},
    "post": {"method": "POST"},
    "body": {"data": b"{}"},
    "query": {"query_string": "a=b"},
    "slash at the end": {"path": "/api/info/"},
    "elsewhere": {"path": "/api/threads"},
}


@pytest.mark.parametrize("create_app", [wsgi_app, flask_app])
@pytest.mark.parametrize("mode", ["auto", "multi-route", "single-route"])
@pytest.mark.parametrize("request_name", INFO_REQUESTS)
def test_info_at_once_is_sent_on_wsgi_as_what_the_handler_responds(
    request_name: str, mode: Any, create_app: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = create_app(runtime=CopilotRuntime(agents={"a": DescribedAgent()}), mode=mode)

    def respond() -> tuple[str, Any, bytes]:
        response = WerkzeugClient(app).open(**{"path": "/api/info", **INFO_REQUESTS[request_name]})
        return response.status, list(response.headers), response.data

    sent = respond()
    assert (sent[0] == "200 OK") == (mode != "single-route" and request_name not in ("head", "post", "elsewhere"))
    monkeypatch.setattr(CopilotHandler, "respond_at_once", lambda *target: None)
    assert respond() == sent


def test_info_calls_a_hook_that_seems_equal_to_none() -> None:
    handler = create_copilot_runtime_handler(
        runtime=CopilotRuntime(agents={"a": DescribedAgent()}), hooks=RuntimeHooks(on_request=Refusing())
    )
    assert run_sync(handler(Request(method="GET", path="/info"))).status == 401


def test_info_at_once_leaves_what_fails_to_the_handler(caplog: pytest.LogCaptureFixture) -> None:
    handler = create_copilot_runtime_handler(runtime=CopilotRuntime(agents={"\ud800": DescribedAgent()}))
    assert handler.respond_at_once("GET", "/info", "") is None
    assert run_sync(handler(Request(method="GET", path="/info"))).status == 500
    assert "GET /info failed" in caplog.text
