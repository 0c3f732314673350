"""The tool calls of a run that nobody has answered when it ends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ag_ui.core import RunAgentInput

JSONObject = Mapping[str, Any]


class OpenCalls:
    """Finds the calls that an agent has made and not answered, and that do not wait for a user.

    Calls of the input are none of them: it comes from the client, which could have calls run that no agent has made.
    Neither are earlier ones that an agent with a memory of its own repeats in its snapshots: a client need not send all
    messages, and they would be run again.

    Args:
        input: the input of the run.
    """

    def __init__(self, input: RunAgentInput) -> None:
        self._earlier_messages = {message.id for message in input.messages}
        self._excluded = {call.id for message in input.messages for call in getattr(message, "tool_calls", None) or ()}
        self._started: set[Any] = set()
        self._incomplete: set[Any] = set()

    def note(self, event: JSONObject) -> None:
        """Has to be called with each event of the run: a call that has not ended may lack a part of its arguments."""
        if event["type"] == "TOOL_CALL_START":
            self._started.add(event.get("toolCallId"))
            self._incomplete.add(event.get("toolCallId"))
        elif event["type"] == "TOOL_CALL_END":
            self._incomplete.discard(event.get("toolCallId"))

    def find(self, messages: Sequence[JSONObject], finished: JSONObject) -> list[JSONObject]:
        """Returns the calls in wire form.

        Args:
            messages: the thread's messages at the end of the run.
            finished: its RUN_FINISHED event.
        """
        answered = {message["toolCallId"] for message in messages if message["role"] == "tool"}
        excluded = {*self._excluded, *self._incomplete, *answered, *_interrupted(finished)}
        first_new = self._first_new(messages)
        return [
            call
            for index, message in enumerate(messages)
            if message["role"] == "assistant"
            for call in message.get("toolCalls") or ()
            if call["id"] not in excluded and (index >= first_new or call["id"] in self._started)
        ]

    def _first_new(self, messages: Sequence[JSONObject]) -> int:
        """Returns the index of the first message that follows those of the input."""
        if not self._earlier_messages:  # a run that goes on from what the agent remembers
            return len(messages)
        after = (index for index, message in enumerate(messages, 1) if message.get("id") in self._earlier_messages)
        return max(after, default=0)


def _interrupted(finished: JSONObject) -> Iterable[Any]:
    outcome = finished.get("outcome")
    interrupts = outcome.get("interrupts") if isinstance(outcome, Mapping) else None
    for interrupt in interrupts if isinstance(interrupts, list) else ():
        if isinstance(interrupt, Mapping) and isinstance(call_id := interrupt.get("toolCallId"), str):
            yield call_id
