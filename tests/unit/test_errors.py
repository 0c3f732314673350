"""The one error path of requests: which exception becomes which response, and who sees it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from copilot_runtime import (
    CopilotRuntime,
    CorsConfig,
    HookContext,
    Request,
    RespondWith,
    Response,
    RuntimeHooks,
    create_copilot_runtime_handler,
)
from copilot_runtime._http.target import split_segments
from copilot_runtime._server.routes import ROUTES
from copilot_runtime.stores import MemoryStore
from copilot_runtime.stores.protocol import StoreError
from copilot_runtime.testing import TestClient


def agent(input: Any) -> list[Any]:
    return []


class BrokenStore(MemoryStore):
    """A store none of whose methods works."""

    def _fail(self, *args: Any, **options: Any) -> Any:
        raise StoreError("the disk is full")

    begin = read = messages = threads = update = delete = clear = request_stop = _fail


def make_client(hooks: RuntimeHooks | None = None, **options: Any) -> TestClient:
    runtime = CopilotRuntime(**{"agents": {"a": agent}, "single_user": True, **options})
    return TestClient(create_copilot_runtime_handler(runtime=runtime, hooks=hooks))


RUN_INPUT = {"threadId": "t", "runId": "r", "messages": [], "tools": [], "context": []}

TOUCHING_THE_STORE = [
    ("POST", "/agent/a/run", RUN_INPUT),
    ("POST", "/agent/a/connect", RUN_INPUT),
    ("POST", "/agent/a/stop/t", None),
    ("GET", "/threads", None),
    ("GET", "/threads/t/messages", None),
    ("GET", "/threads/t/events", None),
    ("GET", "/threads/t/state", None),
    ("POST", "/threads/t/archive", None),
    ("PATCH", "/threads/t", {"name": "n"}),
    ("DELETE", "/threads/t", None),
    ("POST", "/threads/clear", None),
]


@pytest.mark.requirement("STORE-06")
@pytest.mark.parametrize(("method", "path", "body"), TOUCHING_THE_STORE)
def test_a_failing_store_is_503(method: str, path: str, body: Any, caplog: pytest.LogCaptureFixture) -> None:
    errors: list[Any] = []
    with make_client(RuntimeHooks(on_error=errors.append), store=BrokenStore()) as client:
        response = client.request(method, path, body, check=False)
    assert (response.status, response.json()["error"]) == (503, "store_unavailable")
    assert response.headers["retry-after"] == "1"
    assert "the disk is full" in caplog.text
    assert b"the disk is full" not in response.body
    assert errors == [], "it is no failure of the application"


@pytest.mark.requirement("STORE-06")
def test_a_failing_store_does_not_flood_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with make_client(store=BrokenStore()) as client:
        for _ in range(20):
            assert client.request("GET", "/threads", check=False).status == 503
    failures = [record for record in caplog.records if "the store failed" in record.getMessage()]
    assert len(failures) == 20
    assert not any(record.exc_info for record in failures)


def test_a_store_error_of_a_hook_is_the_hooks() -> None:
    errors: list[str] = []

    def on_request(context: HookContext) -> None:
        raise StoreError("the hook's own")

    def on_error(context: HookContext) -> None:
        errors.append(str(context.error))

    with make_client(RuntimeHooks(on_request=on_request, on_error=on_error)) as client:
        assert client.request("GET", "/info", check=False).status == 500
    assert errors == ["the hook's own"]


@pytest.mark.requirement("SSE-09")
def test_too_many_streams_are_503() -> None:
    opened = threading.Event()

    def waiting(input: Any) -> Any:
        yield {"type": "RUN_STARTED", "threadId": input.thread_id, "runId": input.run_id}
        opened.wait(30)

    with make_client(agents={"a": waiting}, max_streams=1, debug=True) as client, client.stream("a") as stream:
        next(stream)
        for path in ("/agent/a/run", "/agent/a/connect", "/agent/a/suggest", "/cpk-debug-events"):
            method, body = ("GET", None) if path.endswith("events") else ("POST", RUN_INPUT)
            response = client.request(method, path, body, check=False)
            assert (response.status, response.json()["error"]) == (503, "too_many_streams"), path
            assert response.headers["retry-after"] == "1"
        opened.set()
        stream.result()


@pytest.mark.requirement("BODY-02")
@pytest.mark.parametrize("action", ["run", "connect", "suggest"])
def test_an_invalid_run_input_is_400(action: str) -> None:
    with make_client() as client:
        response = client.request("POST", f"/agent/a/{action}", {"threadId": 3}, check=False)
    assert (response.status, response.json()["error"]) == (400, "Invalid request body")
    assert "threadId" in response.json()["details"]


def test_nobody_is_401() -> None:
    with make_client(single_user=False, identify_user=lambda request: None) as client:
        response = client.request("GET", "/info", check=False)
    assert (response.status, response.json()) == (
        401,
        {"error": "unauthorized", "message": "Authentication required."},
    )


@pytest.mark.requirement("HOOK-03")
@pytest.mark.parametrize("place", ["on_request", "on_before_handler", "on_response", "identify_user", "agents"])
def test_respond_with_ends_a_request_anywhere(place: str) -> None:
    def respond(context: HookContext | Request | Any) -> Any:
        raise RespondWith(Response.json({"place": place}, status=418))

    hooks = RuntimeHooks(**{place: respond}) if place.startswith("on_") else None
    options = {} if hooks else {place: respond, "single_user": False}
    with make_client(hooks, **options) as client:
        response = client.request("POST", "/agent/a/run", RUN_INPUT, check=False)
    assert (response.status, response.json()) == (418, {"place": place})


@pytest.mark.requirement("HOOK-03")
def test_respond_with_needs_a_response() -> None:
    with pytest.raises(TypeError, match="must be a Response"):
        RespondWith({"error": "no"})  # type: ignore[arg-type]


@pytest.mark.requirement("ROUTE-13")
def test_what_an_endpoint_does_not_expect_is_500() -> None:
    class Odd(MemoryStore):
        def threads(self, *args: Any, **options: Any) -> Any:
            raise RuntimeError("secret")

    with make_client(store=Odd()) as client:
        response = client.request("GET", "/threads", check=False)
    assert (response.status, response.json()) == (500, {"error": "internal_error"})


# --- debug ---


def fail(*args: Any) -> Any:
    raise ValueError("the cause")


async def fail_later(*args: Any) -> Any:
    raise ValueError("the cause")


FAILING = ["on_request", "identify_user", "on_before_handler", "on_response", "agents", "cors"]


@pytest.mark.requirement("DEBUG-01")
@pytest.mark.parametrize("debug", [True, False])
@pytest.mark.parametrize("function", [fail, fail_later])
@pytest.mark.parametrize("place", FAILING)
def test_debug_says_which_function_failed(place: str, function: Any, debug: bool) -> None:
    hooks = RuntimeHooks(**{place: function}) if place.startswith("on_") else None
    options = {place: function, "single_user": False} if place in ("identify_user", "agents") else {}
    runtime = CopilotRuntime(**{"agents": {"a": agent}, "debug": debug, **options})
    cors = CorsConfig(allow_origins=function) if place == "cors" else False
    handler = create_copilot_runtime_handler(runtime=runtime, hooks=hooks, cors=cors)
    with TestClient(handler, headers={"origin": "https://a.example"}) as client:
        for method, path, body in (("GET", "/info", None), ("POST", "/agent/a/run", RUN_INPUT)):
            response = client.request(method, path, body, check=False)
            assert response.status == 500
            assert (b"ValueError: the cause" in response.body) == debug
            if debug and path == "/info":
                assert {"agents": "factory of agents", "cors": "allow_origins"}.get(
                    place, place
                ) in response.body.decode()


@pytest.mark.requirement("DEBUG-01")
@pytest.mark.parametrize("debug", [True, False])
def test_debug_says_what_on_error_raised(debug: bool) -> None:
    def on_error(context: HookContext) -> None:
        raise RuntimeError("the second cause")

    with make_client(RuntimeHooks(on_request=fail, on_error=on_error), debug=debug) as client:
        message = client.request("GET", "/info", check=False).json().get("message")
    both = "on_request raised ValueError: the cause; on_error raised RuntimeError: the second cause"
    assert message == (both if debug else None)


@pytest.mark.requirement("DEBUG-01")
@pytest.mark.parametrize("result", [42, "ada", {"id": "ada"}])
def test_debug_says_what_identify_user_returned(result: Any) -> None:
    with make_client(single_user=False, identify_user=lambda request: result, debug=True) as client:
        message = client.request("GET", "/info", check=False).json()["message"]
    assert "identify_user returned" in message
    assert "User(id=...)" in message


@pytest.mark.requirement("DEBUG-01")
def test_debug_says_why_a_user_is_unknown_and_which_agents_there_are() -> None:
    with make_client(single_user=False, identify_user=lambda request: None, debug=True) as client:
        assert "identify_user returned None" in client.request("GET", "/info", check=False).json()["message"]
    with make_client(agents={"a": agent, "b": agent}, debug=True) as client:
        message = client.request("POST", "/agent/nobody/run", RUN_INPUT, check=False).json()["message"]
    assert message == "Agent 'nobody' does not exist. There is: a, b"


@pytest.mark.requirement("DEBUG-01")
@pytest.mark.parametrize(("method", "path", "body"), TOUCHING_THE_STORE)
def test_debug_says_how_a_store_failed(method: str, path: str, body: Any) -> None:
    with make_client(store=BrokenStore(), debug=True) as client:
        response = client.request(method, path, body, check=False)
    assert (response.status, response.json()["error"]) == (503, "store_unavailable")
    assert "the disk is full" in response.json()["message"]


TRANSCRIPTION_FAILURES = [
    RuntimeError("no such model"),
    ConnectionError("refused: 127.0.0.1:1"),
    RuntimeError("invalid api key sk-1"),
    TypeError("transcribe() takes 2 arguments"),
]


@pytest.mark.requirement("DEBUG-01")
@pytest.mark.parametrize("debug", [True, False])
@pytest.mark.parametrize("error", TRANSCRIPTION_FAILURES, ids=str)
def test_debug_says_how_a_transcription_failed(error: Exception, debug: bool) -> None:
    class Service:
        def transcribe(self, audio: bytes, filename: str, mime_type: str) -> str:
            raise error

    audio = {"audio": "AAAA", "mimeType": "audio/webm"}
    with make_client(transcription_service=Service(), debug=debug) as client:
        response = client.request("POST", "/transcribe", audio, check=False)
    assert (str(error) in response.body.decode()) == debug


# --- access to threads ---


def test_routes_of_threads_say_what_they_need() -> None:
    assert {route.pattern: route.access for route in ROUTES.routes if route.access is not None} == {
        "/threads": "read",
        "/threads/{thread_id}/messages": "read",
        "/threads/{thread_id}/events": "read",
        "/threads/{thread_id}/state": "read",
        "/threads/{thread_id}": "manage",
        "/threads/{thread_id}/archive": "manage",
    }


THREAD_REQUESTS = [request for request in TOUCHING_THE_STORE if request[1].startswith("/threads")]


@pytest.mark.requirement("THREADS-07")
@pytest.mark.parametrize("access", ["none", "read", "manage"])
@pytest.mark.parametrize(("method", "path", "body"), [*THREAD_REQUESTS, ("GET", "/threads?limit=no", None)])
def test_thread_access(access: Any, method: str, path: str, body: Any) -> None:
    with make_client(thread_access=access) as client:
        client.run("a", thread_id="t")
        status = client.request(method, path, body, check=False).status
    match = ROUTES.match(split_segments(path.partition("?")[0]))
    assert match is not None
    allowed = {"none": (None,), "read": (None, "read"), "manage": (None, "read", "manage")}[access]
    assert (status == 422) == (match.route.access not in allowed)


# --- envelopes ---


@pytest.mark.requirement("ROUTE-14")
@pytest.mark.parametrize(("expose_memory_routes", "status"), [(False, 404), (True, 422)])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/memories"),
        ("POST", "/memories"),
        ("POST", "/memories/recall"),
        ("POST", "/memories/subscribe"),
        ("PATCH", "/memories/m"),
        ("DELETE", "/memories/m"),
    ],
)
def test_expose_memory_routes_decides_between_404_and_422(
    expose_memory_routes: bool, status: int, method: str, path: str
) -> None:
    with make_client(expose_memory_routes=expose_memory_routes) as client:
        response = client.request(method, path, None if method in ("GET", "DELETE") else {}, check=False)
    assert response.status == status
    assert response.json()["error"]


def test_a_missing_body_of_an_envelope_comes_after_hooks_that_know_the_route() -> None:
    seen: list[Any] = []

    def note(name: str) -> Callable[[HookContext], None]:
        return lambda context: seen.append((name, context.route and context.route.name))

    hooks = RuntimeHooks(on_before_handler=note("before"), on_response=note("response"))
    with make_client(hooks) as client:
        envelope = {"method": "agent/run", "params": {"agentId": "a"}}
        response = client.request("POST", "/", envelope, check=False)
    assert (response.status, response.json()["message"]) == (400, "Missing request body for JSON handler")
    assert seen == [("before", "agent/run"), ("response", "agent/run")]


def test_hooks_see_the_route_of_a_method_that_is_not_allowed() -> None:
    seen: list[Any] = []
    hooks = RuntimeHooks(on_response=lambda context: seen.append(context.route and context.route.name))
    with make_client(hooks) as client:
        response = client.request("GET", "/agent/a/run", check=False)
        client.request("GET", "/nothing", check=False)
    assert (response.status, response.headers["allow"]) == (405, "POST")
    assert seen == ["agent/run", None]
