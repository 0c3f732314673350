"""Hooks, and everything else of the application's own that is called: where it runs, what it sees, what it may do.

The runtimes are those of `fixtures/recording_hooks.py`. Nothing here is timed: who waits, waits at
a gate that the test opens.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from .http_client import TIMEOUT_SECONDS, Response, hello_input, unique
from .security_client import SecurityClient, find_fault, find_leak, serve_security_apps
from .serve import ADAPTERS

PLAIN = ("hooks-plain",)
LATER = ("hooks-later", "hooks-object")
MIXED = ("hooks-returning-coroutine",)
ONE_OF_EACH_STACK = pytest.mark.one_of_each_stack
ALL = (*PLAIN, LATER[0], *(pytest.param(mount, marks=ONE_OF_EACH_STACK) for mount in (*LATER[1:], *MIXED)))
"""A framework only notices whether a hook is called at once or later; how it is written, the core sees."""
ONE_STREAM = ("hooks-one-stream", pytest.param("hooks-one-stream-later", marks=ONE_OF_EACH_STACK))

BEFORE = ("on_request", "on_before_handler")
ANSWERING = (*BEFORE, "on_response")


@pytest.fixture(scope="module", params=ADAPTERS)
def client(request: pytest.FixtureRequest) -> Iterator[SecurityClient]:
    with serve_security_apps(request.param) as client:
        yield client


def field(hook: str) -> str:
    """Returns the name of the header that says what a hook does."""
    return f"x-{hook.replace('_', '-')}"


def traced(
    client: SecurityClient, mount: str, path: str = "/info", body: Any = None, **headers: str
) -> list[dict[str, Any]]:
    """Sends a request and returns what was noted of it; ``headers`` are written with underscores."""
    trace = unique("trace")
    pairs = {name.replace("_", "-"): value for name, value in headers.items()}
    client.request("GET" if body is None else "POST", f"/{mount}{path}", body, {"x-trace": trace, **pairs})
    return client.notes(trace)


def run(client: SecurityClient, mount: str, agent: str = "quick", headers: Mapping[str, str] | None = None) -> Response:
    return client.request("POST", f"/{mount}/agent/{agent}/run", hello_input(unique("thread")), headers or {})


# --- what is called, with what -------------------------------------------------------


@pytest.mark.requirement("HOOK-01")
@pytest.mark.parametrize("mount", ALL)
def test_hooks_are_called_in_order_on_request_on_before_handler_on_response(client: SecurityClient, mount: str) -> None:
    notes = traced(client, mount)
    assert [note["what"] for note in notes] == [
        "on_request", "identify_user", "on_before_handler", "factory", "on_response",
    ]  # fmt: skip
    assert [note["route"] for note in notes if "route" in note] == [None, *[["info", None, None, None]] * 2]
    assert {note["path"] for note in notes if "path" in note} == {f"/{mount}/info"}
    assert [note["status"] for note in notes if "status" in note] == [None, None, 200]


@pytest.mark.requirement("HOOK-01")
@pytest.mark.parametrize("mount", ALL)
@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/agent/quick/run", ["agent/run", "quick", None, None]),
        ("/agent/a%2Fb/connect", ["agent/connect", "a/b", None, None]),
        ("/agent/quick/stop/two%20words", ["agent/stop", "quick", "two words", None]),
        ("/threads/gr%C3%B6%C3%9Fe/archive", ["threads/archive", None, "größe", None]),
        ("/transcribe", ["transcribe", None, None, None]),
    ],
)
def test_hooks_on_before_handler_and_on_response_get_the_route(
    client: SecurityClient, mount: str, path: str, route: list[str | None]
) -> None:
    notes = {note["what"]: note for note in traced(client, mount, path, {})}
    assert notes["on_request"]["route"] is None
    assert notes["on_before_handler"]["route"] == route
    assert notes["on_response"]["route"] == route
    assert notes["on_before_handler"]["path"] == f"/{mount}{path}", "as it was requested, not decoded"


@pytest.mark.requirement("HOOK-04")
@pytest.mark.parametrize("mount", ALL)
def test_on_response_is_called_for_refusals_and_on_error_is_not(client: SecurityClient, mount: str) -> None:
    for path, status, route in (("/nothing", 404, None), ("/transcribe", 405, "transcribe")):
        notes = {note["what"]: note for note in traced(client, mount, path)}
        assert "on_before_handler" not in notes
        assert "on_error" not in notes
        assert notes["on_response"]["status"] == status
        assert (notes["on_response"]["route"] or [None])[0] == route


# --- answering -----------------------------------------------------------------------


@pytest.mark.requirement("HOOK-03")
@pytest.mark.parametrize("mount", ALL)
@pytest.mark.parametrize("hook", ANSWERING)
@pytest.mark.parametrize(("word", "status", "member"), [("respond", 418, "raised"), ("return", 419, "returned")])
def test_hooks_may_raise_or_return_a_response(
    client: SecurityClient, mount: str, hook: str, word: str, status: int, member: str
) -> None:
    trace = unique("trace")
    response = run(client, mount, headers={field(hook): word, "x-trace": trace})
    assert (response.status, response.json(), response.headers["x-by"]) == (status, {member: hook}, hook)
    notes = client.notes(trace)
    assert "on_error" not in [note["what"] for note in notes]
    # Who answers early is followed by on_response alone, and that once.
    responses = [note["status"] for note in notes if note["what"] == "on_response"]
    assert responses == [200 if hook == "on_response" else status]
    later = {"on_request": {"identify_user", "on_before_handler", "factory"}, "on_before_handler": {"factory"}}
    assert not later.get(hook, set()) & {note["what"] for note in notes}


@pytest.mark.parametrize("hook", ANSWERING)
def test_hooks_may_return_a_response_with_a_dict_of_headers(client: SecurityClient, hook: str) -> None:
    response = run(client, "hooks-plain", headers={field(hook): "return-dict-headers"})
    assert (response.status, response.headers["x-by"], response.body) == (200, hook, b"")


@pytest.mark.parametrize("mount", ALL)
@pytest.mark.parametrize("place", ["identify-user", "factory"])
def test_respond_with_ends_a_request_in_identify_user_and_agents(
    client: SecurityClient, mount: str, place: str
) -> None:
    response = run(client, mount, headers={f"x-{place}": "respond"})
    assert (response.status, response.json()) == (418, {"raised": place.replace("-", "_")})


@pytest.mark.requirement("HOOK-02")
@pytest.mark.parametrize("mount", ALL)
def test_on_request_and_on_before_handler_may_replace_the_request(client: SecurityClient, mount: str) -> None:
    notes = {note["what"]: note for note in traced(client, mount, x_user="before", x_on_request="become")}
    assert notes["factory"]["user"] == "changed"
    # The user is known by then.
    notes = {note["what"]: note for note in traced(client, mount, x_user="before", x_on_before_handler="become")}
    assert notes["factory"]["user"] == "before"


@pytest.mark.requirement("HOOK-04")
@pytest.mark.parametrize("mount", ALL)
def test_on_response_may_add_headers_to_a_stream(client: SecurityClient, mount: str) -> None:
    response = run(client, mount, headers={"x-on-response": "decorate"})
    assert response.headers["x-by"] == "on_response"
    assert response.events()[-1]["type"] == "RUN_FINISHED"


# --- failing -------------------------------------------------------------------------

FAILED = {"error": "internal_error"}


@pytest.mark.requirement("HOOK-05")
@pytest.mark.parametrize("mount", ALL)
@pytest.mark.parametrize("hook", ANSWERING)
def test_on_error_is_called_for_a_hook_that_raises(client: SecurityClient, mount: str, hook: str) -> None:
    trace = unique("trace")
    response = run(client, mount, headers={field(hook): "explode", "x-trace": trace})
    assert (response.status, response.json()) == (500, FAILED)
    assert find_fault(response, 500) is None
    errors = [note["error"] for note in client.notes(trace) if note["what"] == "on_error"]
    assert errors == ["RuntimeError"]


@pytest.mark.requirement("HOOK-05")
@pytest.mark.parametrize("mount", ALL)
@pytest.mark.parametrize("hook", ANSWERING)
def test_on_error_may_return_a_response(client: SecurityClient, mount: str, hook: str) -> None:
    trace = unique("trace")
    response = run(client, mount, headers={field(hook): "explode", "x-on-error": "return", "x-trace": trace})
    assert (response.status, response.json()) == (419, {"returned": "on_error"})
    responses = [note for note in client.notes(trace) if note["what"] == "on_response"]
    assert len(responses) == (1 if hook == "on_response" else 0), "what on_error gives is sent as it is"


TYPES = ("return-number", "return-text", "return-false", "return-pair", "return-class", "return-unrelated")
UNSENDABLE = (
    "return-str-body", "return-none-body", "return-dict-body", "return-text-status", "return-odd-status",
    "return-split-header", "return-euro-header", "return-number-header", "return-spaced-header",
)  # fmt: skip


@pytest.mark.requirement("HOOK-05")
@pytest.mark.parametrize("mount", ALL)
@pytest.mark.parametrize("word", ["explode", "respond", *TYPES])
def test_on_error_that_fails_is_a_500(client: SecurityClient, mount: str, word: str) -> None:
    response = run(client, mount, headers={"x-on-request": "explode", "x-on-error": word})
    assert (response.status, response.json()) == (500, FAILED)
    assert find_leak(response) is None


@pytest.mark.requirement("HOOK-07")
@pytest.mark.parametrize("mount", ALL)
@pytest.mark.parametrize("hook", ANSWERING)
@pytest.mark.parametrize("word", TYPES)
def test_hooks_that_return_other_types_are_a_500(client: SecurityClient, mount: str, hook: str, word: str) -> None:
    response = run(client, mount, headers={field(hook): word})
    assert (response.status, response.json()) == (500, FAILED)
    assert find_leak(response) is None
    # It is an error like any other.
    handled = run(client, mount, headers={field(hook): word, "x-on-error": "return"})
    assert handled.status == 419


@pytest.mark.requirement("HOOK-07")
@pytest.mark.parametrize("word", UNSENDABLE)
def test_hooks_that_return_unsendable_responses_are_a_500(client: SecurityClient, word: str) -> None:
    """Left to the server, these would be an answer in plain text, half an answer, or none."""
    faults: dict[str, str | None] = {}
    for hook in (*ANSWERING, "on_error"):
        fields = {field(hook): word, **({"x-on-request": "explode"} if hook == "on_error" else {})}
        lines = [f"{name}: {value}" for name, value in fields.items()]
        head = ("GET /hooks-plain/info HTTP/1.1", "host: x", "connection: close", *lines, "", "")
        response = client.send_bytes("\r\n".join(head).encode())
        faults[hook] = find_fault(response, 500)
        if response is not None and "set-cookie" in response.headers:
            faults[hook] = f"lets a header be split: {response}"
    assert not {hook: problem for hook, problem in faults.items() if problem}


@pytest.mark.requirement("INFO-04")
@pytest.mark.parametrize("mount", ALL)
def test_agents_factory_that_raises_is_a_500(client: SecurityClient, mount: str) -> None:
    response = run(client, mount, headers={"x-factory": "explode"})
    assert find_fault(response, 500) is None
    assert response.json()["error"] == "Failed to run agent"


# --- where things run, and what they see ---------------------------------------------

APPLICATION = ("on_request", "identify_user", "on_before_handler", "factory", "on_response")


@pytest.mark.requirement("HOOK-08")
@pytest.mark.parametrize("mount", ALL)
def test_context_variables_of_the_request_are_seen_by_all_user_code(client: SecurityClient, mount: str) -> None:
    host = unique("host")
    notes = traced(client, mount, x_host=host)
    assert {note["what"]: note["host"] for note in notes} == dict.fromkeys(APPLICATION, host)
    failing = {note["what"]: note for note in traced(client, mount, x_host=host, x_on_request="explode")}
    assert failing["on_error"]["host"] == host


@pytest.mark.requirement("HOOK-08")
@pytest.mark.parametrize("mount", ALL)
def test_context_variables_of_concurrent_requests_do_not_mix(client: SecurityClient, mount: str) -> None:
    """Two that are in the pipeline at the same time, so that nothing is left over from the other by chance."""
    one, other = unique("run"), unique("run")
    traces = {}
    with contextlib.ExitStack() as stack:
        for id in (one, other):
            traces[id] = unique("trace")
            headers = {"x-host": f"host-{id}", "x-trace": traces[id]}
            body = hello_input(unique("thread"), id)
            stack.enter_context(client.open("POST", f"/{mount}/agent/async/run", body, headers)).take(3)
        for id in (other, one):
            client.set_event(id)
            client.wait_for_notes(f"ended-{id}")
    for id, trace in traces.items():
        assert {note["host"] for note in client.notes(trace)} == {f"host-{id}"}


@pytest.mark.requirement("HOOK-08")
@pytest.mark.parametrize("mount", ALL)
@pytest.mark.parametrize("agent", ["sync", "async"])
def test_context_variables_of_the_request_are_seen_by_the_agent_for_its_whole_run(
    client: SecurityClient, mount: str, agent: str
) -> None:
    """Also after its request is long over and others have been answered."""
    id, host, trace = unique("run"), unique("host"), unique("trace")
    headers = {"x-host": host, "x-trace": trace}
    with client.open("POST", f"/{mount}/agent/{agent}/run", hello_input(unique("thread"), id), headers) as stream:
        stream.take(3)
    for _ in range(3):
        traced(client, mount, x_host=unique("another"))
    client.set_event(id)
    (ended,) = client.wait_for_notes(f"ended-{id}")
    assert ended["outcome"] == "finished"
    assert ended["host"] == host
    notes_by_name = {note["what"]: note["host"] for note in client.notes(trace)}
    assert (notes_by_name["agent"], notes_by_name["agent again"]) == (host, host)


@pytest.mark.requirement("RUN-17")
@pytest.mark.parametrize("mount", ALL)
@pytest.mark.parametrize("agent", ["sync", "async"])
def test_agents_run_on_the_event_loop_or_on_a_worker_thread(client: SecurityClient, mount: str, agent: str) -> None:
    """A run outlives its request: an asynchronous agent is on the loop, a synchronous one on a thread of its own."""
    id = unique("run")
    client.set_event(id)
    notes = traced(client, mount, f"/agent/{agent}/run", hello_input(unique("thread"), id))
    notes_by_name = {note["what"]: note for note in notes}
    assert notes_by_name["agent"]["in_loop"] is (agent == "async")
    assert notes_by_name["agent"]["thread"] == notes_by_name["agent again"]["thread"]
    if client.on_wsgi:
        assert notes_by_name["agent"]["local"] is None, "it is not on the request's thread"


@pytest.mark.requirement("HOOK-07")
@pytest.mark.parametrize("mount", PLAIN)
def test_hooks_that_are_plain_functions_run_on_the_requests_own_thread(client: SecurityClient, mount: str) -> None:
    host = unique("host")
    notes = traced(client, mount, x_host=host)
    assert [note["what"] for note in notes] == list(APPLICATION)
    assert not any(note["in_loop"] for note in notes)
    if client.on_wsgi:
        # The request's own thread, with its thread-locals: as Flask's and Django's users need it.
        assert len({note["thread"] for note in notes}) == 1
        assert {note["local"] for note in notes} == {host}
    failing = {note["what"]: note for note in traced(client, mount, x_host=host, x_on_request="explode")}
    assert failing["on_error"]["in_loop"] is False
    if client.on_wsgi:
        assert failing["on_error"]["local"] == host


@pytest.mark.requirement("HOOK-07")
@pytest.mark.parametrize("mount", LATER)
def test_hooks_that_are_coroutine_functions_run_on_an_event_loop(client: SecurityClient, mount: str) -> None:
    notes = traced(client, mount, x_host=unique("host"))
    assert [note["what"] for note in notes] == list(APPLICATION)
    assert all(note["in_loop"] for note in notes)
    assert len({note["thread"] for note in notes}) == 1
    if client.on_wsgi:
        assert {note["local"] for note in notes} == {None}


@pytest.mark.requirement("HOOK-07")
def test_hooks_that_return_a_coroutine_are_awaited_on_an_event_loop(client: SecurityClient) -> None:
    notes = {note["what"]: note for note in traced(client, "hooks-returning-coroutine")}
    assert notes["on_request"]["in_loop"] is True
    assert notes["identify_user"]["in_loop"] is False


@pytest.mark.requirement("HOOK-08")
def test_context_variables_set_by_a_plain_hook(client: SecurityClient) -> None:
    """On WSGI it is the request's own context; and nothing is left of it for whom the thread serves next."""
    notes = {note["what"]: note for note in traced(client, "hooks-plain", x_on_request="remember")}
    # Under ASGI, asgiref brings it back from the thread, as it does for all plain code of Django's.
    if client.on_wsgi or client.adapter == "django-asgi":
        assert notes["on_before_handler"]["set_by_hook"] == "on_request"
    else:
        assert notes["on_before_handler"]["set_by_hook"] == "unset"


@pytest.mark.requirement("HOOK-08")
def test_context_variables_set_by_a_coroutine_hook(client: SecurityClient) -> None:
    """On ASGI it runs in the request's own task; on WSGI in a copy of its context, on the loop."""
    notes = {note["what"]: note for note in traced(client, "hooks-later", x_on_request="remember")}
    expected = "unset" if client.on_wsgi else "on_request"
    assert notes["on_before_handler"]["set_by_hook"] == expected


# --- blocking ------------------------------------------------------------------------

BLOCKING = ("on_request", "identify_user", "on_before_handler", "factory", "on_response", "on_error")


@pytest.mark.requirement("HOOK-07")
@pytest.mark.parametrize("place", BLOCKING)
def test_hooks_that_block_do_not_delay_other_requests(client: SecurityClient, place: str) -> None:
    """While it waits, another request is answered and a stream continues; only then does the test set its event."""
    gate, id = unique("gate"), unique("run")
    headers = {"x-gate": gate, field(place): "wait"} | ({"x-on-request": "explode"} if place == "on_error" else {})
    responses: list[Response] = []
    waiting = threading.Thread(
        target=lambda: responses.append(client.request("GET", "/hooks-plain/info", headers=headers)), daemon=True
    )
    with client.open("POST", "/hooks-plain/agent/async/run", hello_input(unique("thread"), id)) as stream:
        stream.take(3)
        waiting.start()
        client.wait_for_notes(f"at-{gate}")
        assert client.request("GET", "/hooks-plain/info").status == 200
        assert run(client, "hooks-plain").events()[-1]["type"] == "RUN_FINISHED"
        client.set_event(id)
        assert stream.rest()[-1]["type"] == "RUN_FINISHED"
        assert not responses
        client.set_event(gate)
    waiting.join(TIMEOUT_SECONDS)
    assert [response.status for response in responses] == [500 if place == "on_error" else 200]


def test_agents_that_block_do_not_delay_other_requests(client: SecurityClient) -> None:
    id = unique("run")
    with client.open("POST", "/hooks-plain/agent/sync/run", hello_input(unique("thread"), id)) as stream:
        stream.take(3)
        assert run(client, "hooks-plain").events()[-1]["type"] == "RUN_FINISHED"
        client.set_event(id)
        assert stream.rest()[-1]["type"] == "RUN_FINISHED"


# --- the end of a run ----------------------------------------------------------------


def settle(client: SecurityClient, mount: str) -> None:
    """Waits for the end of a further run: every earlier notification has arrived by then."""
    id = unique("run")
    client.request("POST", f"/{mount}/agent/quick/run", hello_input(unique("thread"), id))
    client.wait_for_notes(f"ended-{id}")


def text_of(messages: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(message["role"], message["content"]) for message in messages]


@pytest.mark.requirement("HOOK-06")
@pytest.mark.parametrize("mount", ALL)
def test_on_run_end_of_a_finished_run(client: SecurityClient, mount: str) -> None:
    thread, id = unique("thread"), unique("run")
    response = client.request("POST", f"/{mount}/agent/quick/run", hello_input(thread, id), {"x-user": "zoe"})
    assert response.events()[-1]["type"] == "RUN_FINISHED"
    client.wait_for_notes(f"ended-{id}")
    settle(client, mount)
    (ended,) = client.notes(f"ended-{id}")
    assert (ended["outcome"], ended["failure"]) == ("finished", "")
    assert (ended["thread_id"], ended["agent_id"], ended["user"]) == (thread, "quick", "zoe")
    assert ended["in_order"] is True
    assert text_of(ended["messages"]) == [("user", "hi"), ("assistant", "begun done")]
    types = [event["type"] for event in ended["events"]]
    assert types == ["RUN_STARTED", "TEXT_MESSAGE_START", "TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END", "RUN_FINISHED"]
    # As a replay shows them.
    replay = client.request("POST", f"/{mount}/agent/quick/connect", hello_input(thread, "reading"), {"x-user": "zoe"})
    assert ended["events"] == replay.events()


@pytest.mark.requirement("HOOK-06")
@pytest.mark.parametrize("mount", ALL)
@pytest.mark.parametrize(("agent", "content"), [("fails", ["begun "]), ("fails-at-once", [])])
def test_on_run_end_of_a_failed_run(client: SecurityClient, mount: str, agent: str, content: list[str]) -> None:
    id = unique("run")
    response = client.request("POST", f"/{mount}/agent/{agent}/run", hello_input(unique("thread"), id))
    assert response.events()[-1]["type"] == "RUN_ERROR"
    assert find_leak(response) is None
    client.wait_for_notes(f"ended-{id}")
    settle(client, mount)
    (ended,) = client.notes(f"ended-{id}")
    assert ended["outcome"] == "failed"
    # For the log, and so with its text.
    assert ended["failure"].startswith("RuntimeError: SECRET")
    assert ended["events"][-1]["type"] == "RUN_ERROR"
    assert "SECRET" not in str(ended["events"])
    assert [text for role, text in text_of(ended["messages"]) if role == "assistant"] == content


@pytest.mark.requirement("HOOK-06")
@pytest.mark.parametrize("mount", ALL)
@pytest.mark.parametrize("agent", ["async", "sync"])
def test_on_run_end_of_a_stopped_run(client: SecurityClient, mount: str, agent: str) -> None:
    thread, id = unique("thread"), unique("run")
    with client.open("POST", f"/{mount}/agent/{agent}/run", hello_input(thread, id)) as stream:
        stream.take(3)
        stopped = client.request("POST", f"/{mount}/agent/{agent}/stop/{thread}", {"runId": id})
        assert stopped.json()["stopped"] is True
        if agent == "sync":
            client.set_event(id)  # it is closed at its next yield
        assert stream.rest()[-1]["type"] == "RUN_FINISHED"
    client.wait_for_notes(f"ended-{id}")
    settle(client, mount)
    (ended,) = client.notes(f"ended-{id}")
    assert ended["outcome"] == "stopped"
    assert ended["events"][-1]["type"] == "RUN_FINISHED"
    assert text_of(ended["messages"])[0] == ("user", "hi")
    assert text_of(ended["messages"])[1][1].startswith("begun ")


@pytest.mark.requirement("HOOK-06")
@pytest.mark.parametrize("mount", ALL)
def test_on_run_end_of_a_run_without_readers(client: SecurityClient, mount: str) -> None:
    id = unique("run")
    with client.open("POST", f"/{mount}/agent/async/run", hello_input(unique("thread"), id)) as stream:
        stream.take(3)
    client.set_event(id)
    assert [ended["outcome"] for ended in client.wait_for_notes(f"ended-{id}")] == ["finished"]


@pytest.mark.requirement("HOOK-06")
@pytest.mark.parametrize("mount", ALL)
def test_on_run_end_is_not_called_for_suggest_connect_and_refusals(client: SecurityClient, mount: str) -> None:
    """Suggestions, replays, refusals."""
    thread, suggested, busy, live = unique("thread"), unique("run"), unique("run"), unique("run")
    response = client.request("POST", f"/{mount}/agent/quick/suggest", hello_input(thread, suggested))
    assert response.events()[-1]["type"] == "RUN_FINISHED"
    failed = unique("run")
    client.request("POST", f"/{mount}/agent/fails/suggest", hello_input(thread, failed))
    with client.open("POST", f"/{mount}/agent/async/run", hello_input(thread, live)) as stream:
        stream.take(3)
        assert client.request("POST", f"/{mount}/agent/quick/run", hello_input(thread, busy)).status == 409
        client.set_event(live)
        stream.rest()
    client.wait_for_notes(f"ended-{live}")
    reading = unique("run")
    client.request("POST", f"/{mount}/agent/quick/connect", hello_input(thread, reading))
    settle(client, mount)
    run_ids = {"suggestion": suggested, "failed suggestion": failed, "refused run": busy, "replay": reading}
    assert [what for what, id in run_ids.items() if client.notes(f"ended-{id}")] == []
    assert len(client.notes(f"ended-{live}")) == 1


@pytest.mark.requirement("HOOK-06")
@pytest.mark.parametrize("mount", ALL)
def test_on_run_end_that_raises_does_no_harm(client: SecurityClient, mount: str) -> None:
    thread, id = unique("thread"), unique("run")
    for number in (1, 2):
        response = client.request("POST", f"/{mount}/agent/breaks-hook/run", hello_input(thread, f"{id}-{number}"))
        assert response.events()[-1]["type"] == "RUN_FINISHED"
        assert len(client.wait_for_notes(f"ended-{id}-{number}")) == 1


@pytest.mark.requirement("HOOK-06")
@pytest.mark.parametrize("mount", ALL)
def test_on_run_end_runs_on_a_worker_thread_or_on_the_event_loop(client: SecurityClient, mount: str) -> None:
    id, host = unique("run"), unique("host")
    client.request("POST", f"/{mount}/agent/quick/run", hello_input(unique("thread"), id), {"x-host": host})
    (ended,) = client.wait_for_notes(f"ended-{id}")
    assert ended["host"] == host
    assert ended["in_loop"] is (mount in LATER), "a plain one must not block the loop"


# --- streams that are replaced -------------------------------------------------------


@pytest.mark.requirement("SSE-09")
@pytest.mark.parametrize("mount", ONE_STREAM)
@pytest.mark.parametrize("route", ["run", "suggest", "connect"])
@pytest.mark.parametrize("word", ["return", "respond", "explode", *TYPES])
def test_max_streams_a_stream_that_on_response_replaces_is_closed(
    client: SecurityClient, mount: str, route: str, word: str
) -> None:
    """Of the one stream that may be open there is always one to be had."""
    for _ in range(3):
        body = hello_input(unique("thread"))
        response = client.request("POST", f"/{mount}/agent/quick/{route}", body, {"x-on-response": word})
        assert response.status in (418, 419, 500), response
    complete = run(client, mount)
    assert complete.status == 200, complete
    assert complete.events()[-1]["type"] == "RUN_FINISHED"


@pytest.mark.requirement("SSE-09")
@pytest.mark.parametrize("mount", ONE_STREAM)
def test_max_streams_a_stream_that_on_response_keeps_still_counts(client: SecurityClient, mount: str) -> None:
    """So that the test above shows something."""
    id = unique("run")
    headers = {"x-on-response": "decorate"}
    with client.open("POST", f"/{mount}/agent/async/run", hello_input(unique("thread"), id), headers) as stream:
        stream.take(3)
        busy = run(client, mount)
        assert find_fault(busy, 503) is None
        assert busy.headers["retry-after"]
        client.set_event(id)
        stream.rest()
    assert run(client, mount).status == 200


@pytest.mark.requirement("HOOK-04")
@pytest.mark.parametrize("mount", ONE_STREAM)
def test_on_response_that_replaces_a_stream_does_not_stop_the_run(client: SecurityClient, mount: str) -> None:
    id = unique("run")
    body = hello_input(unique("thread"), id)
    client.request("POST", f"/{mount}/agent/quick/run", body, {"x-on-response": "return"})
    assert [ended["outcome"] for ended in client.wait_for_notes(f"ended-{id}")] == ["finished"]
