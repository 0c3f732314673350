"""The demo agents: functions that yield AG-UI events as dicts, without a model.

Each function yields the events between ``RUN_STARTED`` and ``RUN_FINISHED``; `DemoAgent` adds these two. Replies follow
from simple rules, so that no API key and no network is needed.
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

# Between two words: about as fast as a model writes.
_WORD_SECONDS = 0.03


@dataclasses.dataclass(frozen=True)
class DemoAgent:
    """An agent for `CopilotRuntime`: ``description`` appears in ``/info``, ``run`` yields the events of a run."""

    description: str
    events: Callable[[RunAgentInput], Events]

    async def run(self, run_input: RunAgentInput) -> Events:
        """Yields the events of one run, as they are sent. Raises what the agent's function raises."""
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
        "with a stream of events, one chunk of text after the other.",
    ),
    (
        r"can|help|do",
        "I follow a few fixed rules. The agents in the menu above show more: a tool that runs in this page, a "
        "shopping list that we share, reasoning, a long answer to stop, and a failure.",
    ),
    (r"reload|thread|remember", "Reload the page: this thread comes back, because the runtime stores its events."),
    (r"thank(s| you)|bye", "You are welcome."),
)


async def _default(run_input: RunAgentInput) -> Events:
    text = _last_user_text(run_input)
    matching = (reply for pattern, reply in _REPLIES if re.search(rf"\b({pattern})\b", text, re.IGNORECASE))
    fallback = f"You wrote {len(text.split())} word(s): “{text}”. Ask me what this is, or what I can do."
    async for event in _text_message(next(matching, fallback)):
        yield event


# --- tools: a tool that runs in the page ---

_COLOURS = ("teal", "coral", "gold", "plum", "olive")


async def _tools(run_input: RunAgentInput) -> Events:
    last = run_input.messages[-1] if run_input.messages else None
    if last is not None and last.role == "tool":
        # The page has run the tool and started this run with the result as its last message.
        reply = f"The page answered: {last.content} Name another colour, or ask to choose again."
        async for event in _text_message(reply):
            yield event
        return
    text = _last_user_text(run_input).lower()
    colour = next((colour for colour in _COLOURS if colour in text), None)
    tool, announcement, arguments = _choose_tool(colour)
    if tool not in {available.name for available in run_input.tools or ()}:
        async for event in _text_message(f"I would call the tool {tool}, but this page does not provide it."):
            yield event
        return
    message_id = _new_id()
    async for event in _text_message(announcement, message_id):
        yield event
    async for event in _tool_call(tool, arguments, message_id):
        yield event


def _choose_tool(colour: str | None) -> tuple[str, str, dict[str, Any]]:
    """Returns the tool to call, the text that announces the call, and its arguments."""
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
_ITEM_SEPARATOR = re.compile(r"[,.!?\n]|\band\b", re.IGNORECASE)
_USAGE = "Try “add milk and eggs”, “got milk”, “remove eggs” or “clear”."


async def _state(run_input: RunAgentInput) -> Events:
    items = _shopping_list(run_input.state)
    # The whole state first, once: whatever the page's state was, both sides now agree.
    yield {"type": "STATE_SNAPSHOT", "snapshot": {"items": [dict(item) for item in items]}}
    changed: list[str] = []
    for command, name in _parse_commands(_last_user_text(run_input)):
        operation = _apply_command(command, name, items)
        if operation is not None:
            await asyncio.sleep(_WORD_SECONDS * 10)
            yield {"type": "STATE_DELTA", "delta": [operation]}
            changed.append(name or "everything")
    remaining = sum(not item["done"] for item in items)
    reply = f"Changed: {', '.join(changed)}. " if changed else f"Nothing to change. {_USAGE} "
    async for event in _text_message(f"{reply}{remaining} item(s) left to buy."):
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


# --- reasoning: reasoning before the answer ---


async def _reasoning(run_input: RunAgentInput) -> Events:
    text = _last_user_text(run_input)
    reasoning_id = _new_id()
    yield {"type": "REASONING_START", "messageId": reasoning_id}
    yield {"type": "REASONING_MESSAGE_START", "messageId": reasoning_id, "role": "reasoning"}
    reasoning = (
        f"The user wrote “{text}”. Let me count. It has {len(text.split())} word(s) and {len(text)} character(s). "
        f"Backwards it reads “{text[::-1]}”. One sentence is enough for the answer."
    )
    async for word in _words(reasoning):
        yield {"type": "REASONING_MESSAGE_CONTENT", "messageId": reasoning_id, "delta": word}
    yield {"type": "REASONING_MESSAGE_END", "messageId": reasoning_id}
    yield {"type": "REASONING_END", "messageId": reasoning_id}
    answer = f"Your message has {len(text.split())} word(s); backwards it reads “{text[::-1]}”."
    async for event in _text_message(answer):
        yield event


# --- long: a run to stop; fails: a run that fails ---


async def _long(run_input: RunAgentInput) -> Events:
    steps = " ".join(f"Step {number} of 200 is done." for number in range(1, 201))
    async for event in _text_message(f"This takes about half a minute, unless you stop me. {steps}"):
        yield event


async def _fails(run_input: RunAgentInput) -> Events:
    async for event in _text_message("This answer breaks off in the middle: something is about to go"):
        if event["type"] != "TEXT_MESSAGE_END":
            yield event
    raise RuntimeError("the demo agent 'fails' fails, as it should")


# --- helpers ---


def _new_id() -> str:
    return str(uuid.uuid4())


def _last_user_text(run_input: RunAgentInput) -> str:
    """Returns the text of the user's last message, without its attachments."""
    content = next((message.content for message in reversed(run_input.messages) if message.role == "user"), "")
    if isinstance(content, str):
        return content
    return " ".join(part.text for part in content if part.type == "text")


async def _words(text: str) -> AsyncIterator[str]:
    """Yields the words of a text slowly, each with the white space after it."""
    for word in re.findall(r"\S+\s*", text):
        await asyncio.sleep(_WORD_SECONDS)
        yield word


async def _text_message(text: str, message_id: str | None = None) -> Events:
    message_id = message_id or _new_id()
    yield {"type": "TEXT_MESSAGE_START", "messageId": message_id, "role": "assistant"}
    async for word in _words(text):
        yield {"type": "TEXT_MESSAGE_CONTENT", "messageId": message_id, "delta": word}
    yield {"type": "TEXT_MESSAGE_END", "messageId": message_id}


async def _tool_call(tool: str, arguments: Mapping[str, Any], parent_id: str) -> Events:
    """Yields a call of a frontend tool, which the client runs: it has no result in this run."""
    call_id = _new_id()
    yield {"type": "TOOL_CALL_START", "toolCallId": call_id, "toolCallName": tool, "parentMessageId": parent_id}
    async for word in _words(json.dumps(arguments)):
        yield {"type": "TOOL_CALL_ARGS", "toolCallId": call_id, "delta": word}
    yield {"type": "TOOL_CALL_END", "toolCallId": call_id}


DEMO_AGENTS: Mapping[str, DemoAgent] = {
    "default": DemoAgent("Answers with streamed text.", _default),
    "tools": DemoAgent("Calls a tool that runs in this page: it lets you choose, or sets the background.", _tools),
    "state": DemoAgent("Keeps a shopping list in the state that it shares with this page.", _state),
    "reasoning": DemoAgent("Shows its reasoning before it answers.", _reasoning),
    "long": DemoAgent("Gives a long answer, for you to stop.", _long),
    "fails": DemoAgent("Fails in the middle of its answer.", _fails),
}
