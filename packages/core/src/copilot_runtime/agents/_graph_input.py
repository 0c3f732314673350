"""What a LangGraph graph takes of a run's input: whoever calls the runtime writes all of it."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .._log_text import one_line
from ._forwarded_props import AllowedProps

if TYPE_CHECKING:
    from ag_ui.core import RunAgentInput

logger = logging.getLogger("copilot_runtime.agents")

_OVERWRITE = "__overwrite__"
"""In JSON, LangGraph's instruction to replace a member of the state without its reducer."""


@dataclasses.dataclass(frozen=True, slots=True)
class GraphInput:
    """Selects what a graph takes."""

    state_keys: frozenset[str]
    """The members of the graph's input schema."""
    props: AllowedProps
    omitted_roles: frozenset[str]

    def select(self, input: RunAgentInput) -> RunAgentInput:
        """Returns a run's input without what the graph does not take."""
        state = input.state if isinstance(input.state, Mapping) else {}
        return input.model_copy(
            update={
                "state": _without_overwrites({name: state[name] for name in self.state_keys & state.keys()}),
                "forwarded_props": _without_overwrites(self.props.select("LangGraphAgent", input.forwarded_props)),
                "messages": [message for message in input.messages if message.role not in self.omitted_roles],
            }
        )


def input_keys(graph: Any) -> frozenset[str]:
    """Returns the members of a graph's input schema; none if its types have no JSON Schema, as for ag-ui-langgraph."""
    try:
        return frozenset(graph.get_input_jsonschema().get("properties", ()))
    except Exception as error:
        logger.warning(
            "the graph takes no state from the frontend: its input schema has no JSON Schema: %s", one_line(error)
        )
        return frozenset()


def _without_overwrites(members: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if not _is_overwrite(value)}


def _is_overwrite(value: Any) -> bool:
    return isinstance(value, Mapping) and (_OVERWRITE in value or value.get("type") == _OVERWRITE)
