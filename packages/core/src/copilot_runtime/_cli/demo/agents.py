"""The demo's agents: plain functions that yield AG-UI events as dicts, without a model behind them.

Each function yields what lies between ``RUN_STARTED`` and ``RUN_FINISHED``; `DemoAgent` adds these
two. What they say is decided by simple rules, so that nothing here needs a key or a network.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import re
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from ag_ui.core import RunAgentInput

Event = dict[str, Any]
Events = AsyncIterator[Event]

# Seconds between two pieces of text: about as fast as a model writes.
_PACE = 0.03


@dataclasses.dataclass(frozen=True)
class DemoAgent:
    """An agent as `CopilotRuntime` takes it: ``description`` for ``/info``, ``run`` for its events."""

    description: str
    events: Callable[[RunAgentInput], Events]

    async def run(self, run_input: RunAgentInput) -> Events:
        """The events of one run, in wire form. Raises what the agent's function raises."""
        ids = {"threadId": run_input.thread_id, "runId": run_input.run_id}
        yield {"type": "RUN_STARTED", **ids}
        async for event in self.events(run_input):
            yield event
        yield {"type": "RUN_FINISHED", **ids}


# --- default: streamed text ---

_REPLIES = (
    (r"hello|hi|hey", "Hello! I am a small demo agent. Ask me what this is, or what I can do."),
    (
        r"what.*(this|that)|who",
        "This is a CopilotKit runtime written in Python. The page sends your messages to it over HTTP, and I answer "
        "as a stream of events, one piece of text after the other.",
    ),
    (
        r"can|help|do",
        "I answer by a few fixed rules. The agents in the menu above show more: a tool that runs in this page, a "
        "shopping list that we share, reasoning, a long answer to stop, and a failure.",
    ),
    (r"reload|thread|remember", "Reload the page: this thread comes back, because the runtime keeps its events."),
    (r"thank(s| you)|bye", "You are welcome."),
)


async def _default(run_input: RunAgentInput) -> Events:
    said = _last_user_text(run_input)
    matching = (reply for pattern, reply in _REPLIES if re.search(rf"\b({pattern})\b", said, re.IGNORECASE))
    fallback = f"You wrote {len(said.split())} word(s): “{said}”. Ask me what this is, or what I can do."
    async for event in _say(next(matching, fallback)):
        yield event


# --- tools: a tool that runs in the page ---

_COLOURS = ("teal", "coral", "gold", "plum", "olive")


async def _tools(run_input: RunAgentInput) -> Events:
    last = run_input.messages[-1] if run_input.messages else None
    if last is not None and last.role == "tool":
        # The page has run the tool and started this run with the result as its last message.
        async for event in _say(f"The page answered: {last.content} Name another colour, or ask to choose again."):
            yield event
        return
    said = _last_user_text(run_input).lower()
    colour = next((colour for colour in _COLOURS if colour in said), None)
    tool, words, arguments = _ask(colour)
    if tool not in {offered.name for offered in run_input.tools or ()}:
        async for event in _say(f"I would call the tool {tool}, but this page does not offer it."):
            yield event
        return
    message_id = _new_id()
    async for event in _say(words, message_id):
        yield event
    async for event in _call(tool, arguments, message_id):
        yield event


def _ask(colour: str | None) -> tuple[str, str, dict[str, Any]]:
    if colour is not None:
        return "set_background", f"I ask the page to turn {colour}.", {"color": colour}
    question = {"question": "Which background would you like?", "options": list(_COLOURS)}
    return "show_choices", "I ask the page to let you choose.", question


# --- state: a list that the agent and the page share ---

_COMMANDS = {
    "add": re.compile(r"\b(?:add|buy|need)\b\s+(?P<items>.+)", re.IGNORECASE | re.DOTALL),
    "remove": re.compile(r"\b(?:remove|delete|drop)\b\s+(?P<items>.+)", re.IGNORECASE | re.DOTALL),
    "done": re.compile(r"\b(?:got|bought|done|have)\b\s+(?P<items>.+)", re.IGNORECASE | re.DOTALL),
    "clear": re.compile(r"\b(?:clear|empty)\b(?P<items>)", re.IGNORECASE),
}
_BETWEEN_ITEMS = re.compile(r"[,.!?\n]|\band\b", re.IGNORECASE)
_HOW_TO = "Try “add milk and eggs”, “got milk”, “remove eggs” or “clear”."


async def _state(run_input: RunAgentInput) -> Events:
    items = _shopping_list(run_input.state)
    # The whole state first, once: whatever the page had, both sides now agree.
    yield {"type": "STATE_SNAPSHOT", "snapshot": {"items": [dict(item) for item in items]}}
    done: list[str] = []
    for command, name in _orders(_last_user_text(run_input)):
        operation = _operation(command, name, items)
        if operation is not None:
            await asyncio.sleep(_PACE * 10)
            yield {"type": "STATE_DELTA", "delta": [operation]}
            done.append(name or "everything")
    left = sum(not item["done"] for item in items)
    reply = f"Changed: {', '.join(done)}. " if done else f"Nothing to change. {_HOW_TO} "
    async for event in _say(f"{reply}{left} item(s) left to buy."):
        yield event


def _shopping_list(state: Any) -> list[dict[str, Any]]:
    """The list in a state that came from a client, which may hold anything."""
    items = state.get("items") if isinstance(state, Mapping) else None
    return [
        {"name": item["name"], "done": item.get("done") is True}
        for item in (items if isinstance(items, list) else ())
        if isinstance(item, Mapping) and isinstance(item.get("name"), str)
    ]


def _orders(said: str) -> list[tuple[str, str]]:
    for command, pattern in _COMMANDS.items():
        match = pattern.search(said)
        if match:
            names = [name.strip().lower() for name in _BETWEEN_ITEMS.split(match["items"])]
            return [(command, name) for name in names if name or command == "clear"]
    return []


def _operation(command: str, name: str, items: list[dict[str, Any]]) -> Event | None:
    """Carries an order out on ``items``; gives the JSON Patch operation (RFC 6902) that does the same."""
    at = next((index for index, item in enumerate(items) if item["name"] == name), None)
    if command == "clear":
        items.clear()
        return {"op": "replace", "path": "/items", "value": []}
    if command == "add" and at is None:
        items.append({"name": name, "done": False})
        return {"op": "add", "path": "/items/-", "value": {"name": name, "done": False}}
    if command == "remove" and at is not None:
        del items[at]
        return {"op": "remove", "path": f"/items/{at}"}
    if command == "done" and at is not None:
        items[at]["done"] = True
        return {"op": "replace", "path": f"/items/{at}/done", "value": True}
    return None


# --- reasoning: thoughts before the answer ---


async def _reasoning(run_input: RunAgentInput) -> Events:
    said = _last_user_text(run_input)
    thought_id = _new_id()
    yield {"type": "REASONING_START", "messageId": thought_id}
    yield {"type": "REASONING_MESSAGE_START", "messageId": thought_id, "role": "reasoning"}
    thoughts = (
        f"The user wrote “{said}”. Let me count. It has {len(said.split())} word(s) and {len(said)} character(s). "
        f"Read backwards it is “{said[::-1]}”. That should be told in one sentence."
    )
    async for piece in _pieces(thoughts):
        yield {"type": "REASONING_MESSAGE_CONTENT", "messageId": thought_id, "delta": piece}
    yield {"type": "REASONING_MESSAGE_END", "messageId": thought_id}
    yield {"type": "REASONING_END", "messageId": thought_id}
    async for event in _say(f"Your message has {len(said.split())} word(s); backwards it reads “{said[::-1]}”."):
        yield event


# --- long: something to stop; fails: something that goes wrong ---


async def _long(run_input: RunAgentInput) -> Events:
    steps = " ".join(f"Step {number} of 200 is done." for number in range(1, 201))
    async for event in _say(f"This takes about half a minute, unless you stop me. {steps}"):
        yield event


async def _fails(run_input: RunAgentInput) -> Events:
    async for event in _say("This answer breaks off in the middle: something is about to go"):
        if event["type"] != "TEXT_MESSAGE_END":
            yield event
    raise RuntimeError("the demo agent 'fails' fails, as it should")


# --- what they share ---


def _new_id() -> str:
    return str(uuid.uuid4())


def _last_user_text(run_input: RunAgentInput) -> str:
    """What the user said last; of a message with attachments, its text."""
    content = next((message.content for message in reversed(run_input.messages) if message.role == "user"), "")
    if isinstance(content, str):
        return content
    return " ".join(part.text for part in content if part.type == "text")


async def _pieces(text: str) -> AsyncIterator[str]:
    """The words of a text, each with the space after it, one at a time."""
    for word in re.findall(r"\S+\s*", text):
        await asyncio.sleep(_PACE)
        yield word


async def _say(text: str, message_id: str | None = None) -> Events:
    message_id = message_id or _new_id()
    yield {"type": "TEXT_MESSAGE_START", "messageId": message_id, "role": "assistant"}
    async for piece in _pieces(text):
        yield {"type": "TEXT_MESSAGE_CONTENT", "messageId": message_id, "delta": piece}
    yield {"type": "TEXT_MESSAGE_END", "messageId": message_id}


async def _call(tool: str, arguments: Mapping[str, Any], parent_id: str) -> Events:
    """A call that the client shall run: it gets no result here (AG-UI's frontend tools)."""
    call_id = _new_id()
    yield {"type": "TOOL_CALL_START", "toolCallId": call_id, "toolCallName": tool, "parentMessageId": parent_id}
    async for piece in _pieces(json.dumps(arguments)):
        yield {"type": "TOOL_CALL_ARGS", "toolCallId": call_id, "delta": piece}
    yield {"type": "TOOL_CALL_END", "toolCallId": call_id}


DEMO_AGENTS: Mapping[str, DemoAgent] = {
    "default": DemoAgent("Answers what you say with streamed text.", _default),
    "tools": DemoAgent("Calls a tool that runs in this page: it lets you choose, or sets the background.", _tools),
    "state": DemoAgent("Keeps a shopping list in the state that it shares with this page.", _state),
    "reasoning": DemoAgent("Shows what it thinks before it answers.", _reasoning),
    "long": DemoAgent("Gives a long answer, so that there is something to stop.", _long),
    "fails": DemoAgent("Fails in the middle of its answer.", _fails),
}
