"""The mount path of the runtime, for blueprints and for views."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

import pytest
from flask import Blueprint, Flask, request

from copilot_runtime import (
    CorsConfig,
    HookContext,
    RespondWith,
    Response,
    RuntimeHooks,
    create_copilot_runtime_handler,
)
from copilot_runtime_flask import copilot_view, create_copilot_blueprint

from .in_process import MOUNT, app_with, is_complete, run, runtime

INFO = {"method": "info"}


def at(prefix: str | None) -> Callable[[Flask, Blueprint], None]:
    return lambda app, blueprint: app.register_blueprint(blueprint, url_prefix=prefix)


def own_prefix(app: Flask, blueprint: Blueprint) -> None:
    blueprint.url_prefix = "/of/its/own"
    app.register_blueprint(blueprint)


def nested(app: Flask, blueprint: Blueprint) -> None:
    outer, middle = Blueprint("outer", __name__), Blueprint("middle", __name__)
    middle.register_blueprint(blueprint, url_prefix="/inner")
    outer.register_blueprint(middle, url_prefix="/middle")
    app.register_blueprint(outer, url_prefix="/outer")


def nested_without_a_prefix(app: Flask, blueprint: Blueprint) -> None:
    outer = Blueprint("outer", __name__, url_prefix="/outer")
    outer.register_blueprint(blueprint)
    app.register_blueprint(outer)


def below_a_root(app: Flask, blueprint: Blueprint) -> None:
    app.config["APPLICATION_ROOT"] = "/root"  # Flask's client puts it into SCRIPT_NAME
    app.register_blueprint(blueprint, url_prefix="/api")


REGISTRATIONS: dict[str, tuple[Callable[[Flask, Blueprint], None], str]] = {
    "prefix": (at(MOUNT), MOUNT),
    "no prefix": (at(None), ""),
    "root": (at("/"), ""),
    "slash at the end": (at("/api/copilotkit/"), MOUNT),
    "own prefix": (own_prefix, "/of/its/own"),
    "nested": (nested, "/outer/middle/inner"),
    "nested without a prefix": (nested_without_a_prefix, "/outer"),
    "variables": (at("/<tenant>/<int:number>/chat"), "/acme/7/chat"),
    "variable with slashes": (at("/<path:project>/chat"), "/a/b/chat"),
    "application root": (below_a_root, "/api"),
    "beyond ascii": (at("/größe/chat"), "/gr%C3%B6%C3%9Fe/chat"),
    "like a route": (at("/agent/info/run"), "/agent/info/run"),
}


@pytest.fixture(params=REGISTRATIONS)
def mounted(request: pytest.FixtureRequest) -> tuple[Flask, str]:
    register, mount = REGISTRATIONS[request.param]
    app = Flask("mounted")
    register(app, create_copilot_blueprint(runtime=runtime()))
    return app, mount


@pytest.mark.requirement("FLASK-01")
def test_blueprint_base_path_follows_url_prefix(mounted: tuple[Flask, str]) -> None:
    app, mount = mounted
    client = app.test_client()
    for response in (client.get(f"{mount}/info"), client.post(mount or "/", json=INFO)):
        assert list(response.get_json()["agents"]) == ["play", "play-sync"]
    assert is_complete(run(app, mount))


ODD = ["", "/", "//", "/info", "/info/", "//info", "/info//", "///info//", "/in//fo", "/\n", "/ü"]


@pytest.mark.requirement("FLASK-01")
@pytest.mark.parametrize("path", ODD)
def test_blueprint_answers_every_path_below_url_prefix(mounted: tuple[Flask, str], path: str) -> None:
    app, mount = mounted
    # In a URL, a path that starts with two slashes would start with a host.
    decoded = (unquote(mount) + path or "/").encode().decode("latin-1")
    for method in ("GET", "POST", "DELETE", "OPTIONS"):
        response = app.test_client().open(method=method, environ_overrides={"PATH_INFO": decoded})
        assert response.content_type == "application/json"
        assert response.status_code in (200, 400, 404, 405, 415)


@pytest.mark.requirement("FLASK-01")
@pytest.mark.parametrize("path", ["/", "/api", "/api/copilotkitinfo", "/api//copilotkit/info", "/info"])
def test_blueprint_leaves_other_paths_to_the_application(path: str) -> None:
    response = app_with().test_client().get(path)
    assert (response.status_code, response.mimetype) == (404, "text/html")


@pytest.mark.requirement("FLASK-01")
def test_blueprint_variables_of_url_prefix_reach_the_request() -> None:
    seen: list[Any] = []
    hooks = RuntimeHooks(on_request=lambda ctx: seen.append((request.view_args or {})["tenant"]))
    app = Flask("tenants")
    app.register_blueprint(create_copilot_blueprint(runtime=runtime(), hooks=hooks), url_prefix="/<tenant>/chat")
    assert is_complete(run(app, "/acme/chat"))
    assert seen == ["acme"]


@pytest.mark.requirement("FLASK-01")
def test_blueprint_two_blueprints_with_two_runtimes() -> None:
    app = Flask("two")
    app.register_blueprint(create_copilot_blueprint(runtime=runtime("one")), url_prefix="/first")
    app.register_blueprint(create_copilot_blueprint(runtime=runtime("two"), name="second"), url_prefix="/second")
    for mount, agent, other in (("/first", "one", "two"), ("/second", "two", "one")):
        assert list(app.test_client().get(f"{mount}/info").get_json()["agents"]) == [agent]
        assert is_complete(run(app, mount, agent))
        assert run(app, mount, other).status_code == 404


@pytest.mark.requirement("FLASK-01")
def test_blueprint_registered_twice_is_one_runtime() -> None:
    app, blueprint = Flask("twice"), create_copilot_blueprint(runtime=runtime())
    app.register_blueprint(blueprint, url_prefix="/first")
    app.register_blueprint(blueprint, url_prefix="/second", name="again")
    assert is_complete(run(app, "/first"))
    assert is_complete(run(app, "/second"))


@pytest.mark.requirement("FLASK-01")
def test_blueprint_two_of_one_name_are_refused_by_flask() -> None:
    app = app_with()
    with pytest.raises(ValueError, match="name 'copilotkit' is already registered"):
        app.register_blueprint(create_copilot_blueprint(runtime=runtime()), url_prefix="/other")


# --- rules of one's own ----------------------------------------------------------------


@pytest.mark.requirement("FLASK-03")
def test_copilot_view_mode_single_route() -> None:
    app = Flask("single")
    view = copilot_view(create_copilot_runtime_handler(runtime=runtime(), mode="single-route"))
    app.add_url_rule("/chat", "chat", view, methods=["POST"])
    assert list(app.test_client().post("/chat", json=INFO).get_json()["agents"]) == ["play", "play-sync"]
    assert app.test_client().get("/chat").status_code == 405, "which is Flask's to say"


@pytest.mark.requirement("FLASK-03")
@pytest.mark.parametrize(
    ("base_path", "rest"), [(None, None), ("/chat/bot", None), (None, "rest")], ids=["anywhere", "base path", "rest"]
)
def test_copilot_view_path_kwarg(base_path: str | None, rest: str | None) -> None:
    app = Flask("own")
    view = copilot_view(create_copilot_runtime_handler(runtime=runtime(), base_path=base_path), path_kwarg=rest)
    app.add_url_rule("/<kind>/bot/<path:rest>", "copilot", view, methods=["GET", "POST"])
    assert list(app.test_client().get("/chat/bot/info").get_json()["agents"]) == ["play", "play-sync"]
    assert is_complete(run(app, "/chat/bot"))


@pytest.mark.requirement("FLASK-03")
def test_copilot_view_answers_preflights_of_its_rule() -> None:
    app = Flask("own")
    handler = create_copilot_runtime_handler(
        runtime=runtime(), cors=CorsConfig(allow_origins=["https://frontend.example"])
    )
    app.add_url_rule("/chat/<path:rest>", "chat", copilot_view(handler, path_kwarg="rest"), methods=["POST", "OPTIONS"])
    asking = {"Origin": "https://frontend.example", "Access-Control-Request-Method": "POST"}
    response = app.test_client().options("/chat/agent/play/run", headers=asking)
    assert response.headers["access-control-allow-origin"] == "https://frontend.example"


@pytest.mark.requirement("FLASK-03")
def test_copilot_view_for_one_route() -> None:
    def only_plays(ctx: HookContext) -> None:
        if ctx.route is None or ctx.route.agent_id != "play":
            raise RespondWith(Response.json({"error": "not this one"}, 403))

    app = Flask("one")
    hooks = RuntimeHooks(on_before_handler=only_plays)
    view = copilot_view(create_copilot_runtime_handler(runtime=runtime(), hooks=hooks))
    app.add_url_rule("/agent/<agent>/run", "run", view, methods=["POST"])
    assert is_complete(run(app, ""))
    assert run(app, "", "play-sync").status_code == 403
    assert app.test_client().get("/info").status_code == 404


@pytest.mark.requirement("FLASK-03")
@pytest.mark.parametrize("types", [None, runtime, "handler"])
def test_copilot_view_requires_a_handler(types: Any) -> None:
    with pytest.raises(TypeError, match="create_copilot_runtime_handler"):
        copilot_view(types)


@pytest.mark.requirement("FLASK-01")
@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"runtime": runtime(), "handler": create_copilot_runtime_handler(runtime=runtime())},
        {"handler": create_copilot_runtime_handler(runtime=runtime()), "mode": "auto"},
    ],
    ids=["neither", "both", "handler with options"],
)
def test_blueprint_requires_a_runtime_or_a_handler(arguments: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="either runtime"):
        create_copilot_blueprint(**arguments)
