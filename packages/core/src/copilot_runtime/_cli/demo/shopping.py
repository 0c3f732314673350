"""The demo agent ``state``: a shopping list in the state that the agent and the page share."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any

from ag_ui.core import RunAgentInput

from .events import WORD_SECONDS, Event, Events, last_user_text, text_message

_COMMANDS = {
    "add": re.compile(r"\b(?:add|buy|need)\b\s+(?P<items>.+)", re.IGNORECASE | re.DOTALL),
    "remove": re.compile(r"\b(?:remove|delete|drop)\b\s+(?P<items>.+)", re.IGNORECASE | re.DOTALL),
    "done": re.compile(r"\b(?:got|bought|done|have)\b\s+(?P<items>.+)", re.IGNORECASE | re.DOTALL),
    "clear": re.compile(r"\b(?:clear|empty)\b(?P<items>)", re.IGNORECASE),
}
_ITEM_SEPARATOR = re.compile(r"[,.!?\n]|\band\b", re.IGNORECASE)
_USAGE = "Try “add milk and eggs”, “got milk”, “remove eggs” or “clear”."


async def shopping(run_input: RunAgentInput) -> Events:
    """Yields the events of one run."""
    items = _shopping_list(run_input.state)
    # The whole state first, once: whatever the page's state was, both sides now agree.
    yield {"type": "STATE_SNAPSHOT", "snapshot": {"items": [dict(item) for item in items]}}
    changed: list[str] = []
    for command, name in _parse_commands(last_user_text(run_input)):
        operation = _apply_command(command, name, items)
        if operation is not None:
            await asyncio.sleep(WORD_SECONDS * 10)
            yield {"type": "STATE_DELTA", "delta": [operation]}
            changed.append(name or "everything")
    remaining = sum(not item["done"] for item in items)
    reply = f"Changed: {', '.join(changed)}. " if changed else f"Nothing to change. {_USAGE} "
    async for event in text_message(f"{reply}{remaining} item(s) left to buy."):
        yield event


def _shopping_list(state: Any) -> list[dict[str, Any]]:
    """Returns the items in a state that a client has sent, which may be any JSON value."""
    items = state.get("items") if isinstance(state, Mapping) else None
    return [
        {"name": item["name"], "done": item.get("done") is True}
        for item in (items if isinstance(items, list) else ())
        if isinstance(item, Mapping) and isinstance(item.get("name"), str)
    ]


def _parse_commands(text: str) -> list[tuple[str, str]]:
    """Returns pairs of a command and the item that it applies to."""
    for command, pattern in _COMMANDS.items():
        match = pattern.search(text)
        if match:
            names = [name.strip().lower() for name in _ITEM_SEPARATOR.split(match["items"])]
            return [(command, name) for name in names if name or command == "clear"]
    return []


def _apply_command(command: str, name: str, items: list[dict[str, Any]]) -> Event | None:
    """Applies a command to ``items``. Returns the JSON Patch operation (RFC 6902) that does the same, if any."""
    index = next((index for index, item in enumerate(items) if item["name"] == name), None)
    if command == "clear":
        items.clear()
        return {"op": "replace", "path": "/items", "value": []}
    if command == "add" and index is None:
        items.append({"name": name, "done": False})
        return {"op": "add", "path": "/items/-", "value": {"name": name, "done": False}}
    if command == "remove" and index is not None:
        del items[index]
        return {"op": "remove", "path": f"/items/{index}"}
    if command == "done" and index is not None:
        items[index]["done"] = True
        return {"op": "replace", "path": f"/items/{index}/done", "value": True}
    return None
