"""The demo as an ASGI application: a runtime with the demo agents, and a page to use them."""

from __future__ import annotations

from copilot_runtime_asgi import CopilotMiddleware
from copilot_runtime_asgi._asgi_types import ASGIApp

from ..._server.agents_types import AgentMapping
from ..._server.runtime import CopilotRuntime
from ..chat_page.app import ChatPage
from .agents import DEMO_AGENTS
from .model import model_agents

BASE_PATH = "/api/copilotkit"


def create_demo_app() -> ASGIApp:
    """Returns an application with a new runtime at `BASE_PATH`, and the chat page at ``/``."""
    # A demo on one's own machine has a single user, who may list its threads.
    agents: AgentMapping = {**DEMO_AGENTS, **model_agents()}
    runtime = CopilotRuntime(agents=agents, single_user=True, shutdown_grace_seconds=1)
    page = ChatPage(base_path=BASE_PATH, title="CopilotKit runtime demo", has_examples=True)
    return CopilotMiddleware(page, path=BASE_PATH, runtime=runtime, mode="auto")
