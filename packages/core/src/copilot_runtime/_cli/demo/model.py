"""The demo's agent with a model behind it, for who has a key."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping

from ...agents import BuiltInAgent

logger = logging.getLogger("copilot_runtime.demo")

KEY, MODEL = "OPENAI_API_KEY", "COPILOTKIT_DEMO_MODEL"


def model_agents() -> Mapping[str, BuiltInAgent]:
    """The agent ``model`` where ``OPENAI_API_KEY`` is set; none where it is not, or the SDK is not installed.

    ``COPILOTKIT_DEMO_MODEL`` names another model than the default one.
    """
    if not os.environ.get(KEY):
        return {}
    name = os.environ.get(MODEL) or "openai/gpt-4o-mini"
    try:
        agent = BuiltInAgent(
            model=name,
            prompt="You are a helpful assistant in the demo of a CopilotKit runtime. Answer briefly.",
            max_steps=3,
            description=f"Asks {name}, with this page's tools and its state.",
        )
    except ImportError as error:
        logger.warning("%s is set, but there is no agent for it: %s", KEY, error)
        return {}
    return {"model": agent}
