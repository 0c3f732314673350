"""The application's own functions around requests: what refuses, what decorates, what answers errors."""

from __future__ import annotations

from collections.abc import Callable
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


@pytest.mark.parametrize("guard", [by_application, by_blueprint])
def test_before_request_refuses(guard: Change) -> None:
    asked: list[str] = []
    app = app_with(guard, hooks=RuntimeHooks(on_request=lambda ctx: asked.append(ctx.path)))
    answer = run(app)
    assert (answer.status_code, answer.get_json()) == (401, {"error": "who are you?"})
    assert asked == [], "the runtime has not been asked"
    assert is_complete(run(app, Authorization="Bearer me"))


def test_before_request_of_the_blueprint_around_it_refuses() -> None:
    app, outer = Flask("nested"), Blueprint("outer", __name__)
    outer.before_request(unless_known)
    inner = app_with().blueprints["copilotkit"]
    outer.register_blueprint(inner, url_prefix="/inner")
    app.register_blueprint(outer, url_prefix="/outer")
    assert run(app, "/outer/inner").status_code == 401
    assert is_complete(run(app, "/outer/inner", Authorization="Bearer me"))


def test_a_blueprints_guard_leaves_other_pages_alone() -> None:
    app = app_with(by_blueprint)
    app.add_url_rule("/", "home", lambda: "home")
    assert app.test_client().get("/").text == "home"


def test_a_preflight_reaches_the_runtime() -> None:
    """Flask would answer OPTIONS by itself."""
    app = app_with(cors=CorsConfig(allow_origins=["https://frontend.example"]))
    asking = {"Origin": "https://frontend.example", "Access-Control-Request-Method": "POST"}
    answer = app.test_client().options(f"{MOUNT}/agent/play/run", headers=asking)
    assert answer.headers["access-control-allow-origin"] == "https://frontend.example"


# --- after -----------------------------------------------------------------------------


@pytest.mark.parametrize("whose", ["app", "blueprint"])
@pytest.mark.parametrize("path", ["/info", "/nothing"])
def test_after_request_applies_to_every_answer(whose: str, path: str) -> None:
    app = app_with(marking(whose))
    answer = app.test_client().get(MOUNT + path)
    assert (answer.content_type, answer.headers["x-after"]) == ("application/json", whose)


@pytest.mark.parametrize("whose", ["app", "blueprint"])
def test_after_request_applies_to_streams_and_does_not_wait_for_them(whose: str) -> None:
    answer = run(app_with(marking(whose)))
    assert answer.is_streamed
    assert answer.headers["x-after"] == whose
    assert answer.headers["content-type"] == "text/event-stream"
    assert is_complete(answer)


def marking(whose: str) -> Change:
    def change(app: Flask, blueprint: Blueprint) -> None:
        @{"app": app, "blueprint": blueprint}[whose].after_request
        def mark(response: Any) -> Any:
            response.headers["x-after"] = whose
            return response

    return change


def test_a_stream_that_after_request_puts_another_answer_for_is_closed() -> None:
    def change(app: Flask, blueprint: Blueprint) -> None:
        @blueprint.after_request
        def replace(response: Any) -> Any:
            return app.response_class("another") if "x-replace" in request.headers else response

    app = app_with(change, runtime=runtime(max_streams=1))
    for _ in range(3):
        assert run(app, **{"x-replace": "please"}).text == "another"
    assert is_complete(run(app))


def test_after_request_can_tell_a_stream_from_what_it_may_read() -> None:
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
    answer = app.test_client().get(f"{MOUNT}/info")
    assert read == [answer.get_data()]


def test_what_hooks_leave_in_g_and_the_session_is_the_applications() -> None:
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


def test_the_applications_error_handlers_answer_what_it_raises() -> None:
    class Locked(Exception):
        pass

    def change(app: Flask, blueprint: Blueprint) -> None:
        app.register_error_handler(Locked, lambda error: ({"error": "locked"}, 423))

        @blueprint.before_request
        def refuse() -> None:
            raise Locked

    assert run(app_with(change)).status_code == 423


def test_the_applications_error_pages_are_not_for_the_runtimes_answers() -> None:
    app = app_with(lambda app, blueprint: app.register_error_handler(404, lambda error: ("a page", 404)))
    assert run(app, agent="nobody").get_json()["error"] == "Agent not found"
    assert app.test_client().get("/nothing").text == "a page"


ABORTING: dict[str, Callable[[], dict[str, Any]]] = {
    "on_request": lambda: {"hooks": RuntimeHooks(on_request=lambda ctx: abort(403))},
    "on_before_handler": lambda: {"hooks": RuntimeHooks(on_before_handler=lambda ctx: abort(403))},
    "identify_user": lambda: {"runtime": runtime(identify_user=lambda request: abort(403))},
}


@pytest.mark.parametrize("where", ABORTING)
def test_abort_is_answered_as_in_any_view(where: str) -> None:
    def change(app: Flask, blueprint: Blueprint) -> None:
        app.register_error_handler(403, lambda error: ({"error": "the application's own"}, 403))

    answer = run(app_with(change, **ABORTING[where]()))
    assert (answer.status_code, answer.get_json()) == (403, {"error": "the application's own"})


def test_what_a_hook_raises_otherwise_is_not_told() -> None:
    def fail(ctx: HookContext) -> None:
        raise RuntimeError("a secret")

    answer = run(app_with(hooks=RuntimeHooks(on_request=fail)))
    assert (answer.status_code, answer.get_json()) == (500, {"error": "internal_error"})


def test_an_agent_that_fails_is_an_error_of_its_stream() -> None:
    def fail(input: Any) -> Any:
        raise RuntimeError("a secret")

    failing = CopilotRuntime(agents={"fails": fail})
    app = app_with(
        lambda app, blueprint: app.register_error_handler(Exception, lambda error: "a page"), runtime=failing
    )
    answer = run(app, agent="fails")
    assert [event["type"] for event in events(answer)] == ["RUN_ERROR"]
    assert "a secret" not in answer.text
