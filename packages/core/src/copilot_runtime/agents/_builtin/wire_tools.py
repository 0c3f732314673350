"""The tools of a run as a maker of models accepts them, and the names by which it calls them."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from ..._log_text import one_line
from .._tools.names import accepted_name, is_accepted_name
from .._tools.toolbox import ToolDefinition
from .maker_rules import MakerRules
from .model_api import named_tool
from .tool_schemas import UnusableSchema, acceptable_schema

logger = logging.getLogger("copilot_runtime.agents.builtin")

_NOT_OFFERED = "This tool is not available any more."


class WireTools:
    """The tools of a run.

    Args:
        definitions: the tools, by our names for them.
        rules: what the maker accepts.
        chosen: the tool choice of the run, whose tool is not the one to leave out of too many.
    """

    def __init__(
        self,
        definitions: Sequence[ToolDefinition],
        rules: MakerRules,
        chosen: str | Mapping[str, Any] | None = None,
    ) -> None:
        self._rules = rules
        self._wire_names: dict[str, str] = {}
        self._own_names: dict[str, str] = {}
        self._left_out: set[str] = set()
        names = {tool.name for tool in definitions if is_accepted_name(tool.name)}
        self.definitions: list[ToolDefinition] = []
        """The tools, by the maker's names for them."""
        for tool in definitions:
            try:
                converted = self._convert(tool, names)
            except UnusableSchema as error:
                logger.warning("the tool %s is left out: %s", one_line(tool.name[:100]), error)
                self._left_out.add(tool.name)
                continue
            self.definitions.append(converted)
            names.add(converted.name)
            self._wire_names[tool.name] = converted.name
            self._own_names[converted.name] = tool.name
        excess = len(self.definitions) - (rules.max_tools or len(self.definitions))
        if excess > 0:
            logger.warning("the model accepts %d tools, so the last %d are left out", rules.max_tools, excess)
            name = named_tool(chosen)
            needed = None if name is None else self._wire_names.get(name)
            # The sort is stable.
            by_need = sorted(self.definitions, key=lambda tool: tool.name != needed)
            kept = {tool.name for tool in by_need[: rules.max_tools]}
            self._left_out |= {self._own_names[tool.name] for tool in self.definitions if tool.name not in kept}
            self.definitions = [tool for tool in self.definitions if tool.name in kept]

    @property
    def names(self) -> Mapping[str, str]:
        """Our names for the tools, by those of the maker."""
        return self._own_names

    def wire_name(self, name: str) -> str:
        """Returns the maker's name for a tool, also for one of an earlier run."""
        return self._wire_names.get(name) or accepted_name(name)

    def wire_choice(self, choice: str | Mapping[str, Any] | None) -> str | Mapping[str, Any] | None:
        """Returns a tool choice with the maker's name for the tool; None for that of a tool that is left out."""
        name = named_tool(choice)
        if name is None:
            return choice
        if name in self._left_out:
            logger.warning("the choice of the tool %s is not sent, as the tool is left out", one_line(name[:100]))
            return None
        return {"type": "function", "function": {"name": self.wire_name(name)}}

    def with_called(self, called: Sequence[str]) -> Sequence[ToolDefinition]:
        """Returns the tools, and others that are in the history, if the maker wants them.

        Args:
            called: the maker's names of the tools that are called in the history.
        """
        if self.definitions or not self._rules.needs_called_tools:
            return self.definitions
        empty = {"type": "object", "properties": {}}
        return [ToolDefinition(name, _NOT_OFFERED, empty) for name in dict.fromkeys(called)]

    def _convert(self, tool: ToolDefinition, names: set[str]) -> ToolDefinition:
        rules = self._rules
        schema = acceptable_schema(
            tool.parameters, for_google=rules.has_google_schemas, property_name=rules.property_name
        )
        description = tool.description
        if rules.max_description is not None and len(description) > rules.max_description:
            description = f"{description[: rules.max_description - 3]}..."
        return dataclasses.replace(
            tool, name=accepted_name(tool.name, names), description=description, parameters=schema
        )
