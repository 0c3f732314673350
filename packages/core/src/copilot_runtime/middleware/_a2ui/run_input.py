"""What an agent receives for A2UI: the user's actions, the catalog, and the tool that renders surfaces."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from .json_values import parse
from .surfaces import LOG_EVENT_TOOL
from .toolkit import toolkit

if TYPE_CHECKING:
    from ag_ui.core import RunAgentInput

INJECT_TOOL = "injectA2UITool"
"""The member of ``forwardedProps`` by which agents learn that they have the tool, or the name that it has."""

_ACTION = "a2uiAction"

_CAPABILITIES = "A2UI catalog"
"""Part of the description of the context by which a frontend lists its catalogs, its own one first."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AgentOffer:
    """What the input of an agent gets for A2UI, whatever the user has done."""

    schema: str | None
    """The catalog as JSON, in place of the frontend's."""
    inject_tool: bool | str
    tool_name: str
    """The name of the tool, if there is one."""

    def changes(self, input: RunAgentInput) -> dict[str, Any]:
        """Returns the fields of a run's input that change."""
        entries = [] if self.schema is None else [_catalog_entry(self.schema)]
        changes: dict[str, Any] = {}
        if self.inject_tool:
            entries.append(_guide(self.tool_name))
            changes["tools"] = _replaced(input.tools, "name", [_tool(self.tool_name)])
            changes["forwarded_props"] = {**_props(input), INJECT_TOOL: self.inject_tool}
        if entries:
            changes["context"] = _replaced(input.context, "description", entries)
        return changes


def catalog_id(input: RunAgentInput) -> str | None:
    """Returns the id of the catalog that the frontend has registered, if it says so."""
    entries = {entry.description: entry.value for entry in reversed(input.context or ())}
    schema = entries.get(toolkit().A2UI_SCHEMA_CONTEXT_DESCRIPTION)
    if schema is not None:
        # Not with the toolkit: the text is the client's, and may be nested so deeply that parsing it fails the run.
        catalog = parse(schema)
        name = catalog.get("catalogId") if isinstance(catalog, dict) else None
        return name if name and isinstance(name, str) else None
    for description, value in entries.items():
        if _CAPABILITIES in description:
            return _first_item(value)
    return None


def _first_item(text: str) -> str | None:
    """Returns the first word of the first item of a list in Markdown."""
    # Not with the toolkit's regular expression, which takes steps in proportion to the square of the number of lines.
    for line in text.splitlines():
        words = line.split(maxsplit=2)
        if len(words) > 1 and words[0] == "-":
            return words[1]
    return None


def action_messages(input: RunAgentInput) -> list[dict[str, Any]]:
    """Returns what the user has done on a surface as messages: a call that the agent seems to have made, and a result.

    Empty if the run does not begin with an action.
    """
    forwarded = _props(input).get(_ACTION)
    action = forwarded.get("userAction") if isinstance(forwarded, Mapping) else None
    if not isinstance(action, Mapping) or not action:
        return []
    message_id = f"{input.run_id}-a2ui-action"
    call_id = f"{message_id}-call"
    function = {"name": LOG_EVENT_TOOL, "arguments": to_json(action).decode()}
    return [
        {
            "id": message_id,
            "role": "assistant",
            "content": "",
            "toolCalls": [{"id": call_id, "type": "function", "function": function}],
        },
        {"id": f"{message_id}-result", "role": "tool", "toolCallId": call_id, "content": _describe(action)},
    ]


def _describe(action: Mapping[str, Any]) -> str:
    name, surface = action.get("name") or "unknown_action", action.get("surfaceId") or "unknown_surface"
    component = action.get("sourceComponentId")
    place = f" (component: {component})" if component else ""
    context = to_json(action.get("context") or {}).decode()
    return f'User performed action "{name}" on surface "{surface}"{place}. Context: {context}'


def _catalog_entry(schema: str) -> dict[str, Any]:
    return {"description": toolkit().A2UI_SCHEMA_CONTEXT_DESCRIPTION, "value": schema}


def _guide(tool_name: str) -> dict[str, Any]:
    text: str = toolkit().DEFAULT_GENERATION_GUIDELINES
    return {
        "description": f"A2UI render tool usage guide — how to call {tool_name} with valid arguments.",
        "value": text.replace(toolkit().RENDER_A2UI_TOOL_DEF["function"]["name"], tool_name),
    }


def _tool(name: str) -> dict[str, Any]:
    return {**toolkit().RENDER_A2UI_TOOL_DEF["function"], "name": name}


def _replaced(items: Iterable[Any] | None, member: str, additions: list[dict[str, Any]]) -> list[Any]:
    """Returns items with the additions, and without others of the same name."""
    names = {each[member] for each in additions}
    return [*(each for each in items or () if getattr(each, member) not in names), *additions]


def _props(input: RunAgentInput) -> Mapping[str, Any]:
    props = input.forwarded_props
    return props if isinstance(props, Mapping) else {}
