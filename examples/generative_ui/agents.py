"""An agent without a model: it draws flights, and books the one whose button is pressed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from ag_ui.core import RunAgentInput

FLIGHTS = [{"name": "Berlin 9:40"}, {"name": "Berlin 12:15"}, {"name": "Berlin 18:05"}]

LIST = [
    {"id": "root", "component": "Column", "children": ["title", "flights"]},
    {"id": "title", "component": "Text", "text": "Flights today", "variant": "h3"},
    {"id": "flights", "component": "List", "children": {"componentId": "flight", "path": "/flights"}},
    {"id": "flight", "component": "Card", "child": "row"},
    {"id": "row", "component": "Row", "justify": "spaceBetween", "align": "center", "children": ["name", "book"]},
    {"id": "name", "component": "Departure", "time": {"path": "name"}},
    {
        "id": "book",
        "component": "Button",
        "child": "label",
        "action": {"event": {"name": "book", "context": {"flight": {"path": "name"}}}},
    },
    {"id": "label", "component": "Text", "text": "Book"},
]


async def travel_agent(input: RunAgentInput) -> AsyncIterator[dict[str, Any]]:
    """Yields a surface as a model would: as the arguments of a call of ``render_a2ui``."""
    run = {"threadId": input.thread_id, "runId": input.run_id}
    yield {"type": "RUN_STARTED", **run}
    booked = pressed_button(input)
    if booked is None:
        surface = {"surfaceId": "flights", "components": LIST, "data": {"flights": FLIGHTS}}
    else:
        text = {"id": "root", "component": "Text", "text": f"Booked: {booked}"}
        surface = {"surfaceId": "booking", "components": [text]}
    call = f"{input.run_id}-surface"
    yield {"type": "TOOL_CALL_START", "toolCallId": call, "toolCallName": "render_a2ui"}
    for delta in pieces(json.dumps(surface)):
        yield {"type": "TOOL_CALL_ARGS", "toolCallId": call, "delta": delta}
        await asyncio.sleep(0.05)
    yield {"type": "TOOL_CALL_END", "toolCallId": call}
    yield {"type": "RUN_FINISHED", **run}


def pressed_button(input: RunAgentInput) -> str | None:
    """Returns the flight whose button the user has pressed, if that is why the agent runs."""
    calls = getattr(input.messages[-2], "tool_calls", None) if len(input.messages) > 1 else None
    if not calls or calls[0].function.name != "log_a2ui_event":
        return None
    flight: str = json.loads(calls[0].function.arguments)["context"]["flight"]
    return flight


def pieces(text: str, size: int = 40) -> list[str]:
    """Returns a text in the small parts in which models write."""
    return [text[start : start + size] for start in range(0, len(text), size)]
