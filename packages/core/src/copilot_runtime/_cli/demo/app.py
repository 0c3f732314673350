"""The demo as an ASGI application: a runtime with the demo agents and the playground."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..._server.agents_types import AgentMapping
from ..._server.runtime import CopilotRuntime
from ..serve_app import create_serve_app
from .agents import DEMO_AGENTS
from .events import last_user_text
from .model import model_agents
from .speech import DemoTranscription

if TYPE_CHECKING:
    from ag_ui.core import RunAgentInput

    from copilot_runtime_asgi._asgi_types import ASGIApp

BASE_PATH = "/api/copilotkit"


def create_demo_app() -> ASGIApp:
    """Returns an application with a new runtime at `BASE_PATH`."""
    agents: AgentMapping = {**DEMO_AGENTS, **model_agents()}
    runtime = CopilotRuntime(
        agents=agents,
        # A demo on one's own machine has a single user, who may list its threads.
        single_user=True,
        thread_names=first_words,
        transcription_service=DemoTranscription(),
        shutdown_grace_seconds=1,
    )
    return create_serve_app(runtime, BASE_PATH, "auto", cors=False)


def first_words(run_input: RunAgentInput) -> str:
    """Returns the name of a new thread: the beginning of its message."""
    return " ".join(last_user_text(run_input).split())[:60]
