"""Flask applications without a server, for tests that do not depend on the network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Blueprint, Flask
from werkzeug.test import TestResponse

from copilot_runtime import CopilotRuntime
from copilot_runtime_flask import create_copilot_blueprint

from ..fixtures.scripted_agents import PLAYERS, play
from ..fixtures.transcription import FixtureTranscription
from ..http_client import Event, parse_frame, run_input, unique

MOUNT = "/api/copilotkit"


def runtime(*agents: str, **options: Any) -> CopilotRuntime:
    """Returns a runtime with scripted agents of these names, or the usual ones."""
    players = dict.fromkeys(agents, play) or PLAYERS
    return CopilotRuntime(agents=players, transcription_service=FixtureTranscription(), **options)


def app_with(change: Callable[[Flask, Blueprint], object] = lambda app, blueprint: None, **options: Any) -> Flask:
    """Returns an application with a runtime at `MOUNT`; ``change`` is called before the blueprint is registered."""
    app = Flask("inside")
    app.secret_key = "only for tests"
    blueprint = create_copilot_blueprint(**{"runtime": runtime(), **options})
    change(app, blueprint)
    app.register_blueprint(blueprint, url_prefix=MOUNT)
    return app


def run(app: Flask, mount: str = MOUNT, agent: str = "play", **headers: str) -> TestResponse:
    """Starts a run and returns the response, whose stream is read when its content is accessed."""
    body = run_input(unique("thread"), forwardedProps={"steps": [["say", "a"]]})
    return app.test_client().post(f"{mount}/agent/{agent}/run", json=body, headers=headers)


def events(response: TestResponse) -> list[Event]:
    """Returns all events of a response."""
    assert response.status_code == 200, response.get_data()
    frames = (parse_frame(block) for block in response.get_data(as_text=True).split("\n\n"))
    return [frame.event for frame in frames if frame is not None]


def is_complete(response: TestResponse) -> bool:
    """Returns whether the response has a run from its start to its end."""
    types = [event["type"] for event in events(response)]
    return (types[0], types[-1]) == ("RUN_STARTED", "RUN_FINISHED")
