"""The playground: what is served, where it is refused, and what its files contain. ``test_playground.py`` uses it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from copilot_runtime import (
    CopilotHandler,
    CopilotRuntime,
    CorsConfig,
    Request,
    RuntimeHooks,
    User,
    create_copilot_runtime_handler,
)
from copilot_runtime.adapters import run_sync
from copilot_runtime.testing import TestClient
from copilot_runtime_flask import copilot_view, create_copilot_blueprint

from ..missing import skip_unless_ci
from ..serve import ROOT

STATIC = resources.files("copilot_runtime._playground") / "static"
NAMES = sorted(file.name for file in STATIC.iterdir())


async def agent(input: Any) -> AsyncIterator[Any]:
    ids = {"threadId": input.thread_id, "runId": input.run_id}
    yield {"type": "RUN_STARTED", **ids}
    yield {"type": "RUN_FINISHED", **ids}


def make_handler(*, playground: bool = True, hooks: RuntimeHooks | None = None, **options: Any) -> CopilotHandler:
    handler_options = {name: options.pop(name) for name in ("base_path", "mode", "cors") if name in options}
    runtime = CopilotRuntime(agents={"default": agent}, **options)
    return create_copilot_runtime_handler(runtime=runtime, playground=playground, hooks=hooks, **handler_options)


def get(handler: CopilotHandler, path: str, root_path: str = "") -> Any:
    assert handler.respond_at_once("GET", path, root_path) is None, "an adapter passes the headers on"
    return run_sync(handler(Request(method="GET", path=path, root_path=root_path)))


@pytest.mark.requirement("PLAYGROUND-02")
def test_playground_is_off_by_default() -> None:
    handler = create_copilot_runtime_handler(runtime=CopilotRuntime(agents={"default": agent}))
    assert not handler.has_playground
    assert get(handler, "/playground/").status == 404
    imported = "import sys, copilot_runtime.adapters; print('copilot_runtime._playground.page' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", imported], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.requirement("PLAYGROUND-02")
@pytest.mark.parametrize(
    ("base_path", "root_path", "mount"),
    [
        (None, "", ""),
        (None, "/mounted", "/mounted"),
        ("/api/copilotkit", "", "/api/copilotkit"),
        ("/api/copilotkit", "/site", "/site/api/copilotkit"),
        ("/", "", ""),
    ],
)
@pytest.mark.parametrize("mode", ["auto", "multi-route", "single-route"])
def test_playground_is_below_the_base_path(base_path: str | None, root_path: str, mount: str, mode: str) -> None:
    handler = make_handler(base_path=base_path, mode=mode)
    assert get(handler, f"{mount}/playground/", root_path).headers["content-type"] == "text/html; charset=utf-8"
    assert get(handler, f"{mount}/playground/style.css", root_path).headers["content-type"] == "text/css; charset=utf-8"
    # Relative, so that it holds behind a proxy that removes a part of the path.
    assert get(handler, f"{mount}/playground", root_path).headers["location"] == "playground/"
    for missing in ("/", "/main.js", "other.js", "page.py", "static/main.js", "..%2Fpage.py", "main.js/", "%6dain.js"):
        assert get(handler, f"{mount}/playground/{missing}", root_path).status in (404, 405), missing


@pytest.mark.requirement("PLAYGROUND-02")
def test_playground_elsewhere_than_at_the_base_path_is_not_found() -> None:
    handler = make_handler(base_path="/api/copilotkit", mode="multi-route")
    assert get(handler, "/playground/").status == 404
    assert get(handler, "/api/copilotkitx/playground/").status == 404
    for below in ("threads", "threads/playground", "agent/default", "playground"):
        for name in ("playground", "playground/", "playground/main.js"):
            path = f"/api/copilotkit/{below}/{name}"
            assert get(handler, path).status in (404, 405), path


@pytest.mark.requirement("PLAYGROUND-02")
def test_playground_files_need_no_user_and_no_hook_but_its_requests_do() -> None:
    seen: list[str] = []
    handler = make_handler(
        identify_user=lambda request: User(id="ann") if "authorization" in request.headers else None,
        hooks=RuntimeHooks(on_request=lambda context: seen.append(context.path)),
        cors=CorsConfig(allow_origins=["https://other.example"]),
        base_path="/api",
    )
    headers = {"origin": "https://other.example"}
    page = run_sync(handler(Request(method="GET", path="/api/playground/", headers=headers)))
    assert (page.status, seen) == (200, [])
    assert "access-control-allow-origin" not in page.headers, "no other site may read it"
    assert (get(handler, "/api/info").status, seen) == (401, ["/api/info"])


@pytest.mark.requirement("PLAYGROUND-02")
@pytest.mark.parametrize(
    ("if_none_match", "status"),
    [("{}", 304), ('"old", {}', 304), ("{}x", 200), ("*", 304), ('W/"old"', 200), ("", 200), (",", 200)],
)
def test_playground_files_that_a_browser_has_are_not_sent_again(if_none_match: str, status: int) -> None:
    handler = make_handler(base_path="/api")
    etag = get(handler, "/api/playground/main.js").headers["etag"]
    for known in (etag, etag.removeprefix("W/")):
        headers = {"if-none-match": if_none_match.format(known)}
        response = run_sync(handler(Request(method="GET", path="/api/playground/main.js", headers=headers)))
        assert (response.status, response.body == b"") == (status, status == 304)
        assert response.headers["content-security-policy"]
        missing = run_sync(handler(Request(method="GET", path="/api/playground/no.js", headers=headers)))
        assert missing.status == 404


def test_playground_leaves_threads_of_that_name_alone() -> None:
    with TestClient(make_handler(single_user=True)) as client:
        client.run("default", thread_id="playground")
        assert client.request("GET", "/threads/playground/messages").status == 200
        assert client.request("PATCH", "/threads/playground", json={"name": "n"}).status == 200
        assert client.request("DELETE", "/threads/playground").status == 204


# --- where it is refused ---


@pytest.mark.requirement("PLAYGROUND-02")
def test_playground_is_refused_by_flask_outside_of_debug_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FLASK_DEBUG", raising=False)
    blueprint = create_copilot_blueprint(handler=make_handler())
    with pytest.raises(ValueError, match=r"not in debug mode.*flask run --debug"):
        Flask("production").register_blueprint(blueprint, url_prefix="/api")
    for attribute in ("debug", "testing"):
        app = Flask("development")
        setattr(app, attribute, True)
        app.register_blueprint(blueprint, url_prefix="/api")
        assert app.test_client().get("/api/playground/").status_code == 200
    app = Flask("own rules")
    app.add_url_rule("/chat/<path:rest>", "chat", copilot_view(make_handler(), path_kwarg="rest"))
    app.testing = True
    assert app.test_client().get("/chat/playground/").status_code == 200
    app.testing, app.config["PROPAGATE_EXCEPTIONS"] = False, True
    with pytest.raises(ValueError, match="not in debug mode"):
        app.test_client().get("/chat/info")


DJANGO = """
from unittest.mock import patch
from copilot_runtime import create_copilot_runtime_handler, CopilotRuntime
from copilot_runtime_asgi import CopilotMiddleware
from copilot_runtime_django import copilot_view, create_copilot_urls, django_context
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.test.utils import setup_test_environment
from tests.fixtures import django_site

django_site.configure({})
handler = create_copilot_runtime_handler(runtime=CopilotRuntime(agents={"default": print}), playground=True)
places = {
    "urls": lambda: create_copilot_urls(handler=handler),
    "view": lambda: copilot_view(handler),
    "middleware": lambda: CopilotMiddleware(None, path="/api", handler=handler, framework=django_context),
}
for debug in (False, True):
    settings.DEBUG = debug
    for name, make in places.items():
        try:
            make()
            print(name, debug, "served")
        except ImproperlyConfigured as error:
            print(name, debug, error)
setup_test_environment(debug=False)
print("tests", settings.DEBUG, bool(create_copilot_urls(handler=handler)))
"""


@pytest.mark.requirement("PLAYGROUND-02")
def test_playground_is_refused_by_django_without_debug() -> None:
    done = subprocess.run([sys.executable, "-c", DJANGO], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    refused = "settings.DEBUG is False, so this is a production server. Write playground=settings.DEBUG"
    lines = done.stdout.splitlines()
    assert [line.split()[:2] for line in lines if refused in line] == [
        [name, "False"] for name in ("urls", "view", "middleware")
    ]
    assert lines[3:] == [*(f"{name} True served" for name in ("urls", "view", "middleware")), "tests False True"]


# --- the files ---


@pytest.mark.requirement("PLAYGROUND-03")
def test_playground_loads_nothing_from_elsewhere() -> None:
    texts = {name: (STATIC / name).read_text("utf-8") for name in NAMES}
    urls = {url for text in texts.values() for url in re.findall(r"https?://[\w.-]+[\w/.]*", text)}
    # The XML namespace of SVG, which nothing fetches, and an example in a comment.
    assert urls == {"http://www.w3.org/2000/svg", "https://site.example/path"}
    imported = {name for text in texts.values() for name in re.findall(r'from "\./([^"]+)"', text)}
    linked = set(re.findall(r'(?:src|href)="([^"#]+)"', texts["index.html"]))
    assert imported | linked | {"index.html"} == set(NAMES), "each file is used, and each that is used exists"


@pytest.mark.requirement("PLAYGROUND-03")
def test_playground_makes_no_markup_and_no_code_of_texts() -> None:
    for name in NAMES:
        text = (STATIC / name).read_text("utf-8")
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", text), (
            name
        )
        assert not re.search(r"<script>|<style|\sstyle=|\son\w+=\"", text), name
    page = get(make_handler(), "/playground/")
    policy = dict(part.split(" ", 1) for part in page.headers["content-security-policy"].split("; "))
    assert (policy["default-src"], policy["script-src"], policy["style-src"]) == ("'none'", "'self'", "'self'")
    assert (policy["require-trusted-types-for"], policy["frame-ancestors"]) == ("'script'", "'none'")
    assert "unsafe" not in page.headers["content-security-policy"]
    assert page.headers["x-content-type-options"] == "nosniff"


@pytest.mark.client
@pytest.mark.requirement("PLAYGROUND-03")
def test_playground_scripts_read_markdown_patches_and_streams() -> None:
    """Of which the first takes steps in proportion to the text."""
    skip_unless_ci(None if shutil.which("node") else "this needs Node 20.19 or newer")
    script = Path(__file__).with_name("playground_scripts.mjs")
    with resources.as_file(STATIC) as folder:
        done = subprocess.run(["node", script, folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
