"""Agents without a model, which write what a model would write."""

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


PAGE = {
    "initialHeight": 120,
    "css": "button { font-size: 1.2rem }",
    "html": "<p>A page of its own.</p><button disabled>0</button>",
    "jsFunctions": (
        "function count(button) {"
        " button.onclick = () => (button.textContent = Number(button.textContent) + 1);"
        " button.disabled = false; "
        "}"
    ),
    "jsExpressions": ["count(document.querySelector('button'))"],
}


async def drawing_agent(input: RunAgentInput) -> AsyncIterator[dict[str, Any]]:
    """Answers with a clock, a page or flights, whichever the user asks for."""
    last = input.messages[-1]
    if last.role == "tool" and pressed_button(input) is None:
        answer = text_message(input, "There it is.")
    elif "clock" in str(last.content).lower():
        answer = tool_call(f"{input.run_id}-clock", "show_clock", {"zone": "UTC"})
    elif "page" in str(last.content).lower():
        answer = tool_call(f"{input.run_id}-page", "generateSandboxedUi", PAGE)
    else:
        answer = travel_agent(input)
    run = {"threadId": input.thread_id, "runId": input.run_id}
    yield {"type": "RUN_STARTED", **run}
    async for event in answer:
        if event["type"] not in ("RUN_STARTED", "RUN_FINISHED"):
            yield event
    yield {"type": "RUN_FINISHED", **run}


async def travel_agent(input: RunAgentInput) -> AsyncIterator[dict[str, Any]]:
    """Draws flights, and books the one whose button is pressed: a surface is a call of ``render_a2ui``."""
    run = {"threadId": input.thread_id, "runId": input.run_id}
    yield {"type": "RUN_STARTED", **run}
    booked = pressed_button(input)
    if booked is None:
        surface = {"surfaceId": "flights", "components": LIST, "data": {"flights": FLIGHTS}}
    else:
        text = {"id": "root", "component": "Text", "text": f"Booked: {booked}"}
        surface = {"surfaceId": "booking", "components": [text]}
    async for event in tool_call(f"{input.run_id}-surface", "render_a2ui", surface):
        yield event
    yield {"type": "RUN_FINISHED", **run}


async def tool_call(call_id: str, name: str, arguments: Any) -> AsyncIterator[dict[str, Any]]:
    """Yields the call of a tool, whose arguments are written over some time."""
    yield {"type": "TOOL_CALL_START", "toolCallId": call_id, "toolCallName": name}
    for delta in pieces(json.dumps(arguments)):
        yield {"type": "TOOL_CALL_ARGS", "toolCallId": call_id, "delta": delta}
        await asyncio.sleep(0.05)
    yield {"type": "TOOL_CALL_END", "toolCallId": call_id}


async def text_message(input: RunAgentInput, text: str) -> AsyncIterator[dict[str, Any]]:
    """Yields a message."""
    yield {"type": "TEXT_MESSAGE_CHUNK", "messageId": f"{input.run_id}-text", "delta": text}


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
