"""The demo agent ``approval``: a run that ends with an interrupt, and one that resumes with the answer."""

from __future__ import annotations

from ag_ui.core import RunAgentInput

from ...agents import Question, interrupt
from .events import Events, last_user_text, text_message

_APPROVAL = {
    "type": "object",
    "properties": {"approved": {"type": "boolean", "title": "Approved"}},
    "required": ["approved"],
}
_BOOKING = {
    "type": "object",
    "properties": {
        "time": {"type": "string", "title": "Time", "enum": ["18:00", "19:30", "21:00"]},
        "guests": {"type": "integer", "title": "Guests", "default": 4},
        "outside": {"type": "boolean", "title": "Outside"},
    },
    "required": ["time", "guests"],
}


async def approval(run_input: RunAgentInput) -> Events:
    """Yields the events of one run: a question, or what follows from its answer."""
    text = last_user_text(run_input)
    if "table" in text.lower():
        question = Question(message="When shall I book the table?", key="booking", response_schema=_BOOKING)
    else:
        message = f"Shall I really do this: “{text[:100]}”?"
        question = Question(message=message, reason="confirmation", response_schema=_APPROVAL)
    # Without the run's context: the runtime leaves only answers to open interrupts in the input.
    asked = interrupt(run_input, None, question)
    if asked.is_open:
        async for event in text_message("I ask before I do that."):
            yield event
        yield asked.event
        return
    async for event in text_message(_reply(asked.answer, is_cancelled=asked.is_cancelled)):
        yield event


def _reply(answer: object, *, is_cancelled: bool) -> str:
    if is_cancelled:
        return "Then I leave it."
    answers = answer if isinstance(answer, dict) else {}
    if "time" in answers:
        where = "outside" if answers.get("outside") is True else "inside"
        return f"Booked for {answers.get('guests')} at {answers['time']}, {where}. (Not really: this is a demo.)"
    return "Done. (Not really: this is a demo.)" if answers.get("approved") is True else "Not done, as you wish."
