"""The demo agents: functions that yield AG-UI events as dicts, without a model.

Each function yields the events between ``RUN_STARTED`` and ``RUN_FINISHED``; `DemoAgent` adds these two. Replies follow
from simple rules, so that no API key and no network is needed.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from ag_ui.core import RunAgentInput

from .answers import answer
from .approval import approval
from .events import WORD_SECONDS, Events, last_user_text, new_id, reasoning_message, text_message, tool_call
from .shopping import shopping


@dataclasses.dataclass(frozen=True)
class DemoAgent:
    """An agent for `CopilotRuntime`.

    Attributes:
        description: appears in ``/info``.
        events: yields the events of a run.
        examples: messages that the playground offers in an empty thread.
    """

    description: str
    events: Callable[[RunAgentInput], Events]
    examples: tuple[str, ...] = ()

    @property
    def capabilities(self) -> Mapping[str, Any]:
        """What ``/info`` says of the agent, for the playground."""
        return {"custom": {"playground": {"examples": list(self.examples)}}}

    async def run(self, run_input: RunAgentInput) -> Events:
        """Yields the events of one run, as they are sent. Raises what the agent's function raises."""
        ids = {"threadId": run_input.thread_id, "runId": run_input.run_id}
        yield {"type": "RUN_STARTED", **ids}
        outcome: dict[str, Any] = {}
        async for event in self.events(run_input):
            if event["type"] == "RUN_FINISHED":
                outcome = event
            else:
                yield event
        yield {"type": "RUN_FINISHED", **outcome, **ids}


# --- tools: a tool that runs in the page ---

_COLOURS = ("teal", "coral", "gold", "plum", "olive")


async def _tools(run_input: RunAgentInput) -> Events:
    last = run_input.messages[-1] if run_input.messages else None
    if last is not None and last.role == "tool":
        # The page has run the tool and started this run with the result as its last message.
        reply = f"The page answered: {last.content} Name another colour, or ask to choose again."
        async for event in text_message(reply):
            yield event
        return
    text = last_user_text(run_input).lower()
    colour = next((colour for colour in _COLOURS if colour in text), None)
    tool, announcement, arguments = _choose_tool(colour)
    if tool not in {available.name for available in run_input.tools or ()}:
        async for event in text_message(f"I would call the tool {tool}, but this page does not provide it."):
            yield event
        return
    message_id = new_id()
    async for event in text_message(announcement, message_id):
        yield event
    async for event in tool_call(tool, arguments, message_id):
        yield event


def _choose_tool(colour: str | None) -> tuple[str, str, dict[str, Any]]:
    """Returns the tool to call, the text that announces the call, and its arguments."""
    if colour is not None:
        return "set_background", f"I ask the page to turn {colour}.", {"color": colour}
    question = {"question": "Which background would you like?", "options": list(_COLOURS)}
    return "show_choices", "I ask the page to let you choose.", question


# --- reasoning: reasoning before the answer ---


async def _reasoning(run_input: RunAgentInput) -> Events:
    text = last_user_text(run_input)
    reasoning = (
        f"The user wrote “{text}”. Let me count. It has {len(text.split())} word(s) and {len(text)} character(s). "
        f"Backwards it reads “{text[::-1]}”. One sentence is enough for the answer."
    )
    async for event in reasoning_message(reasoning):
        yield event
    message = f"Your message has {len(text.split())} word(s); backwards it reads “{text[::-1]}”."
    async for event in text_message(message):
        yield event


# --- activity: progress while the agent works ---

_STEPS = ("Read the question", "Search three sources", "Compare what they say", "Write the answer")


async def _activity(run_input: RunAgentInput) -> Events:
    activity = {"messageId": new_id(), "activityType": "RESEARCH"}
    steps = [{"label": step, "done": False} for step in _STEPS]
    content = {"title": f"Research: {last_user_text(run_input)[:80]}", "progress": 0, "steps": steps}
    yield {"type": "ACTIVITY_SNAPSHOT", **activity, "content": content}
    for index, step in enumerate(_STEPS):
        yield {"type": "STEP_STARTED", "stepName": step}
        await asyncio.sleep(WORD_SECONDS * 15)
        patch = [
            {"op": "replace", "path": f"/steps/{index}/done", "value": True},
            {"op": "replace", "path": "/progress", "value": (index + 1) / len(_STEPS)},
        ]
        yield {"type": "ACTIVITY_DELTA", **activity, "patch": patch}
        yield {"type": "STEP_FINISHED", "stepName": step}
    async for event in text_message("Done. The steps above were an *activity*: the agent changed it while it worked."):
        yield event


# --- long: a run to stop; fails: a run that fails ---


async def _long(run_input: RunAgentInput) -> Events:
    steps = " ".join(f"Step {number} of 200 is done." for number in range(1, 201))
    async for event in text_message(f"This takes about half a minute, unless you stop me. {steps}"):
        yield event


async def _fails(run_input: RunAgentInput) -> Events:
    async for event in text_message("This answer breaks off in the middle: something is about to go"):
        if event["type"] != "TEXT_MESSAGE_END":
            yield event
    raise RuntimeError("the demo agent 'fails' fails, as it should")


DEMO_AGENTS: Mapping[str, DemoAgent] = {
    "default": DemoAgent(
        "Answers with streamed Markdown, and looks at the files that you attach.",
        answer,
        ("Hello!", "Show me Markdown with code and a table", "What can you do?"),
    ),
    "tools": DemoAgent(
        "Calls a tool that runs in this page: it lets you choose, or sets the background.",
        _tools,
        ("Let me choose a colour", "Make the background teal"),
    ),
    "approval": DemoAgent(
        "Asks you before it does something: its run ends with an interrupt, and your answer resumes it.",
        approval,
        ("Delete the old backups", "Book a table for four"),
    ),
    "state": DemoAgent(
        "Keeps a shopping list in the state that it shares with this page.",
        shopping,
        ("Add milk, bread and eggs", "Got milk", "Remove bread"),
    ),
    "reasoning": DemoAgent("Shows its reasoning before it answers.", _reasoning, ("Never odd or even",)),
    "activity": DemoAgent("Shows its progress as an activity while it works.", _activity, ("Why is the sky blue?",)),
    "long": DemoAgent(
        "Gives a long answer: stop it, reload the page, or cut the connection.", _long, ("Count your steps",)
    ),
    "fails": DemoAgent("Fails in the middle of its answer.", _fails, ("Please try",)),
}
