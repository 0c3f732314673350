"""The application's own functions around requests: before_request, after_request and error handlers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from flask import Blueprint, Flask, abort, g, request, session

from copilot_runtime import (
    CopilotRuntime,
    CorsConfig,
    HookContext,
    RuntimeHooks,
)

from .in_process import MOUNT, app_with, events, is_complete, run, runtime

Change = Callable[[Flask, Blueprint], object]

# --- before ----------------------------------------------------------------------------


def unless_known() -> Any:
    return None if "authorization" in request.headers else ({"error": "who are you?"}, 401)


def by_application(app: Flask, blueprint: Blueprint) -> None:
    app.before_request(unless_known)


def by_blueprint(app: Flask, blueprint: Blueprint) -> None:
    blueprint.before_request(unless_known)


@pytest.mark.requirement("FLASK-01")
@pytest.mark.parametrize("guard", [by_application, by_blueprint])
def test_flask_before_request_refuses(guard: Change) -> None:
    paths: list[str] = []
    app = app_with(guard, hooks=RuntimeHooks(on_request=lambda ctx: paths.append(ctx.path)))
    response = run(app)
    assert (response.status_code, response.get_json()) == (401, {"error": "who are you?"})
    assert paths == [], "the runtime has not been paths"
    assert is_complete(run(app, Authorization="Bearer me"))


@pytest.mark.requirement("FLASK-01")
def test_flask_before_request_of_the_outer_blueprint_refuses() -> None:
    app, outer = Flask("nested"), Blueprint("outer", __name__)
    outer.before_request(unless_known)
    inner = app_with().blueprints["copilotkit"]
    outer.register_blueprint(inner, url_prefix="/inner")
    app.register_blueprint(outer, url_prefix="/outer")
    assert run(app, "/outer/inner").status_code == 401
    assert is_complete(run(app, "/outer/inner", Authorization="Bearer me"))


@pytest.mark.requirement("FLASK-01")
def test_flask_before_request_of_the_blueprint_leaves_other_pages_alone() -> None:
    app = app_with(by_blueprint)
    app.add_url_rule("/", "home", lambda: "home")
    assert app.test_client().get("/").text == "home"


def test_flask_preflight_reaches_the_runtime() -> None:
    """Flask would answer OPTIONS by itself."""
    app = app_with(cors=CorsConfig(allow_origins=["https://frontend.example"]))
    asking = {"Origin": "https://frontend.example", "Access-Control-Request-Method": "POST"}
    response = app.test_client().options(f"{MOUNT}/agent/play/run", headers=asking)
    assert response.headers["access-control-allow-origin"] == "https://frontend.example"


# --- after -----------------------------------------------------------------------------


@pytest.mark.requirement("FLASK-01")
@pytest.mark.parametrize("whose", ["app", "blueprint"])
@pytest.mark.parametrize("path", ["/info", "/nothing"])
def test_flask_after_request_applies_to_every_response(whose: str, path: str) -> None:
    app = app_with(marking(whose))
    response = app.test_client().get(MOUNT + path)
    assert (response.content_type, response.headers["x-after"]) == ("application/json", whose)


@pytest.mark.requirement("FLASK-01")
@pytest.mark.parametrize("whose", ["app", "blueprint"])
def test_flask_after_request_applies_to_streams_without_delay(whose: str) -> None:
    response = run(app_with(marking(whose)))
    assert response.is_streamed
    assert response.headers["x-after"] == whose
    assert response.headers["content-type"] == "text/event-stream"
    assert is_complete(response)


def marking(whose: str) -> Change:
    def change(app: Flask, blueprint: Blueprint) -> None:
        @{"app": app, "blueprint": blueprint}[whose].after_request
        def mark(response: Any) -> Any:
            response.headers["x-after"] = whose
            return response

    return change


@pytest.mark.requirement("FLASK-01")
def test_flask_after_request_that_replaces_a_stream_closes_it() -> None:
    def change(app: Flask, blueprint: Blueprint) -> None:
        @blueprint.after_request
        def replace(response: Any) -> Any:
            return app.response_class("another") if "x-replace" in request.headers else response

    app = app_with(change, runtime=runtime(max_streams=1))
    for _ in range(3):
        assert run(app, **{"x-replace": "please"}).text == "another"
    assert is_complete(run(app))


@pytest.mark.requirement("FLASK-01")
def test_flask_after_request_may_wrap_the_content_of_a_run_that_is_over_at_once() -> None:
    """Whose length is known: servers would cut the content off there."""

    def wrapped(chunks: Iterable[bytes]) -> Iterator[bytes]:
        yield from chunks
        yield b": appended\n\n"

    def change(app: Flask, blueprint: Blueprint) -> None:
        @app.after_request
        def wrap(response: Any) -> Any:
            response.response = wrapped(response.response)
            return response

    response = run(app_with(change))
    assert "content-length" not in response.headers
    assert response.text.endswith(": appended\n\n")
    assert is_complete(response)


@pytest.mark.requirement("FLASK-01")
def test_flask_after_request_can_tell_streams_apart() -> None:
    """As Flask's own ``send_file`` shows it, and extensions that compress or log look for it."""
    read: list[bytes] = []

    def change(app: Flask, blueprint: Blueprint) -> None:
        @app.after_request
        def look(response: Any) -> Any:
            if not response.direct_passthrough:
                read.append(response.get_data())
            return response

    app = app_with(change)
    assert is_complete(run(app))
    assert read == []
    response = app.test_client().get(f"{MOUNT}/info")
    assert read == [response.get_data()]


def test_flask_g_and_session_are_shared_with_hooks() -> None:
    def leave(ctx: HookContext) -> None:
        g.left = "in g"
        session["left"] = "in the session"

    def change(app: Flask, blueprint: Blueprint) -> None:
        app.add_url_rule("/left", "left", lambda: session["left"])

        @app.after_request
        def tell(response: Any) -> Any:
            response.headers["x-left"] = g.get("left", "nothing")
            return response

    app = app_with(change, hooks=RuntimeHooks(on_before_handler=leave))
    browser = app.test_client()
    assert browser.get(f"{MOUNT}/info").headers["x-left"] == "in g"
    assert browser.get("/left").text == "in the session"


# --- errors ----------------------------------------------------------------------------


def test_flask_error_handlers_answer_the_applications_exceptions() -> None:
    class Locked(Exception):
        pass

    def change(app: Flask, blueprint: Blueprint) -> None:
        app.register_error_handler(Locked, lambda error: ({"error": "locked"}, 423))

        @blueprint.before_request
        def refuse() -> None:
            raise Locked

    assert run(app_with(change)).status_code == 423


def test_flask_error_handlers_leave_the_runtimes_responses_alone() -> None:
    app = app_with(lambda app, blueprint: app.register_error_handler(404, lambda error: ("a page", 404)))
    assert run(app, agent="nobody").get_json()["error"] == "Agent not found"
    assert app.test_client().get("/nothing").text == "a page"


ABORTING: dict[str, Callable[[], dict[str, Any]]] = {
    "on_request": lambda: {"hooks": RuntimeHooks(on_request=lambda ctx: abort(403))},
    "on_before_handler": lambda: {"hooks": RuntimeHooks(on_before_handler=lambda ctx: abort(403))},
    "identify_user": lambda: {"runtime": runtime(identify_user=lambda request: abort(403))},
}


@pytest.mark.parametrize("where", ABORTING)
def test_flask_abort_in_a_hook(where: str) -> None:
    def change(app: Flask, blueprint: Blueprint) -> None:
        app.register_error_handler(403, lambda error: ({"error": "the application's own"}, 403))

    response = run(app_with(change, **ABORTING[where]()))
    assert (response.status_code, response.get_json()) == (403, {"error": "the application's own"})


def test_on_error_of_a_hook_that_raises_in_flask() -> None:
    def fail(ctx: HookContext) -> None:
        raise RuntimeError("a secret")

    response = run(app_with(hooks=RuntimeHooks(on_request=fail)))
    assert (response.status_code, response.get_json()) == (500, {"error": "internal_error"})


def test_flask_agent_that_fails_ends_in_run_error() -> None:
    def fail(input: Any) -> Any:
        raise RuntimeError("a secret")

    failing = CopilotRuntime(agents={"fails": fail})
    app = app_with(
        lambda app, blueprint: app.register_error_handler(Exception, lambda error: "a page"), runtime=failing
    )
    response = run(app, agent="fails")
    assert [event["type"] for event in events(response)] == ["RUN_ERROR"]
    assert "a secret" not in response.text
