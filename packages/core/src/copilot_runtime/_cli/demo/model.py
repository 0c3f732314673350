"""The demo agent that uses a model, for users with an API key."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping

from ...agents import BuiltInAgent

logger = logging.getLogger("copilot_runtime.demo")

KEY, MODEL = "OPENAI_API_KEY", "COPILOT_RUNTIME_DEMO_MODEL"


def model_agents() -> Mapping[str, BuiltInAgent]:
    """Returns the agent ``model``; an empty mapping if ``OPENAI_API_KEY`` is not set or the SDK is not installed.

    ``COPILOT_RUNTIME_DEMO_MODEL`` selects another model than the default.
    """
    if not os.environ.get(KEY):
        return {}
    name = os.environ.get(MODEL) or "openai/gpt-4o-mini"
    try:
        agent = BuiltInAgent(
            model=name,
            prompt="You are a helpful assistant in the demo of a CopilotKit runtime. Answer briefly.",
            max_steps=3,
            description=f"Uses {name}, with the tools and the state of this page.",
        )
    except ImportError as error:
        logger.warning("%s is set, but the agent that uses it is not available: %s", KEY, error)
        return {}
    return {"model": agent}
