"""The recipes of docs/hooks.md: each lets its user in, and nobody else."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from fastapi.testclient import TestClient as FastAPIClient
from flask import Blueprint, Flask
from flask.testing import FlaskClient
from flask_login import LoginManager, UserMixin, login_user

from copilot_runtime import CopilotRuntime, User
from copilot_runtime.testing import TestClient
from copilot_runtime_flask import create_copilot_blueprint

from .python_pages import documentation_folder, run_blocks
from .stand_ins import ENVIRONMENT, RUN, names_for
from .test_python import python_blocks

pytestmark = pytest.mark.requirement("USER-01")

PAGE = "docs/hooks.md"
KEY = ENVIRONMENT["SECRET_KEY"]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The names of the page, whose files can be imported."""
    folder: Path = tmp_path_factory.mktemp("recipes")
    blocks = [block for block in python_blocks(PAGE) if "copilot_runtime_django" not in block.code]
    with documentation_folder(folder):
        names = run_blocks(blocks, folder, names_for(PAGE))
        for block in blocks:
            if block.file:
                importlib.import_module(block.file.removesuffix(".py"))
        yield names


def statuses(runtime: CopilotRuntime, *headers: dict[str, str]) -> list[int]:
    with TestClient(runtime) as client:
        return [client.run("default", "hi", headers=each, check=False).status for each in headers]


def bearer(**claims: Any) -> dict[str, str]:
    return {"authorization": f"Bearer {jwt.encode({'sub': 'ada', 'aud': 'chat', 'exp': 2**33, **claims}, KEY)}"}


def test_hooks_recipe_jwt(page: dict[str, Any]) -> None:
    runtime = importlib.import_module("jwt_users").runtime
    without_exp = {"authorization": f"Bearer {jwt.encode({'sub': 'ada', 'aud': 'chat'}, KEY)}"}
    forged = {"authorization": f"Bearer {jwt.encode({'sub': 'ada', 'aud': 'chat', 'exp': 2**33}, 'x' * 32)}"}
    refused = [{}, {"authorization": "Basic x"}, bearer(aud="other"), bearer(exp=1), without_exp, forged]
    assert statuses(runtime, bearer(), *refused) == [200, *[401] * len(refused)]


def test_hooks_recipe_api_key(page: dict[str, Any]) -> None:
    runtime = importlib.import_module("api_key_users").runtime
    assert statuses(runtime, {"x-api-key": "an example key"}, {"x-api-key": "another"}, {}) == [200, 401, 401]


def test_hooks_recipe_session_of_starlette(page: dict[str, Any]) -> None:
    with FastAPIClient(importlib.import_module("session_app").app) as client:
        assert client.post("/api/copilotkit/agent/default/run", json=RUN).status_code == 401
        client.post("/login/ada")
        assert client.post("/api/copilotkit/agent/default/run", json=RUN).status_code == 200


def test_hooks_recipe_session_of_flask(page: dict[str, Any]) -> None:
    client = importlib.import_module("flask_session_app").app.test_client()
    assert client.post("/api/copilotkit/agent/default/run", json=RUN).status_code == 401
    client.post("/login/ada")
    assert client.post("/api/copilotkit/agent/default/run", json=RUN).status_code == 200


def client_with_flask_login(blueprint: Blueprint) -> FlaskClient:
    class Account(UserMixin):
        id = "ada"

    app = Flask(__name__)
    app.secret_key = KEY
    LoginManager(app).user_loader(lambda user_id: Account())
    app.add_url_rule("/login", "login", lambda: str(login_user(Account())))
    app.register_blueprint(blueprint, url_prefix="/api/copilotkit")
    return app.test_client()


def statuses_with_flask_login(runtime: CopilotRuntime) -> list[int]:
    """Those of a run before and after a login."""
    client = client_with_flask_login(create_copilot_blueprint(runtime=runtime))
    before = client.post("/api/copilotkit/agent/default/run", json=RUN).status_code
    client.get("/login")
    return [before, client.post("/api/copilotkit/agent/default/run", json=RUN).status_code]


def test_hooks_recipe_flask_login(page: dict[str, Any]) -> None:
    assert statuses_with_flask_login(importlib.import_module("flask_login_users").runtime) == [401, 200]


def test_hooks_recipe_refuses_requests(page: dict[str, Any]) -> None:
    from copilot_runtime import create_copilot_runtime_handler

    runtime = CopilotRuntime(agents={"support": page["hello"], "other": page["hello"]})
    handler = create_copilot_runtime_handler(runtime=runtime, hooks=page["hooks"])
    with TestClient(handler) as client:
        assert client.run("support", "hi", check=False).status == 503
        assert client.run("other", "hi").text == "Hello from Python."


def test_users_page_tells_the_agent_its_user() -> None:
    page = "docs/users.md"
    names = run_blocks(python_blocks(page), Path(), names_for(page))
    runtime = CopilotRuntime(agents={"a": names["orders"]}, identify_user=lambda request: User(id="1", name="Ada"))
    with TestClient(runtime) as client:
        assert client.run("a", "hi").text == "Hello Ada, I look up the orders of 1."
