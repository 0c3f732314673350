"""Which runs have A2UI."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .._generative_ui_names import CATALOG_AVAILABLE
from .options import A2UI

if TYPE_CHECKING:
    from .middleware import A2UIMiddleware

logger = logging.getLogger("copilot_runtime.middleware")


def a2ui_middleware(a2ui: A2UI | None, agent_id: str, props: Any) -> A2UIMiddleware | None:
    """Returns what a run needs around its agent; None if it has no A2UI.

    Args:
        a2ui: the application's options. Without them the frontend decides, by having a catalog or not.
        agent_id: the id of the agent.
        props: the ``forwardedProps`` of the run's input.
    """
    has_catalog = isinstance(props, Mapping) and props.get(CATALOG_AVAILABLE) is True
    if a2ui is None and has_catalog:
        a2ui = _default()
    if a2ui is None or not a2ui.applies_to(agent_id):
        return None
    from .middleware import A2UIMiddleware

    return A2UIMiddleware(a2ui, has_catalog if a2ui.inject_tool is None else a2ui.inject_tool)


@functools.cache
def _default() -> A2UI | None:
    """Returns the options of runs for which there are none; None if A2UI is not installed."""
    try:
        return A2UI()
    except ImportError as error:
        logger.warning("a frontend has a catalog of A2UI components, which agents cannot use: %s", error)
        return None
