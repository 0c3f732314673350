"""`interrupt`: questions of an agent of your own to the user, and the answers that a later run brings."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ._interrupts import parse_resume_entries

if TYPE_CHECKING:
    from ag_ui.core import RunAgentInput

    from ._context import RunContext

_ANSWERS = "copilotRuntimeAnswers"
"""The member of an interrupt's metadata with the answers to earlier questions, by the digests of their keys."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question to the user.

    Args:
        message: what the frontend shows.
        key: what an answer is found by, among those of one agent; by default the message, so that an answer counts
            only for the question that the user has read.
        reason: why the agent asks, for the frontend: ``input_required``, ``confirmation``, ``tool_call``, or a name of
            the application's own.
        response_schema: the JSON Schema of an answer, for the frontend. Nobody validates answers against it.
        tool_call_id: the call that the question is about.
        expires_at: when the question is no longer open; a time without a time zone is local.
        metadata: further members for the frontend.

    Raises:
        ValueError: there is neither a message nor a key.
    """

    message: str | None = None
    key: str = ""
    reason: str = "input_required"
    response_schema: Mapping[str, Any] | None = None
    tool_call_id: str | None = None
    expires_at: datetime.datetime | None = None
    metadata: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if not (self.key or self.message):
            raise ValueError("Question: must have a message, or a key by which the frontend knows what to show")
        if not self.key:
            object.__setattr__(self, "key", self.message)

    def _to_interrupt(self, answers: Mapping[str, Any]) -> dict[str, Any]:
        metadata = {**(self.metadata or {}), **({_ANSWERS: answers} if answers else {})}
        expires_at = self.expires_at
        members = {
            "message": self.message,
            "toolCallId": self.tool_call_id,
            "responseSchema": self.response_schema,
            "expiresAt": None if expires_at is None else expires_at.astimezone(datetime.UTC).isoformat(),
            "metadata": metadata or None,
        }
        return {
            "id": f"{_digest(self.key)}-{uuid.uuid4().hex}",
            "reason": self.reason,
            **{name: value for name, value in members.items() if value is not None},
        }


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """The user's answer to a question. ``payload`` is what the frontend has resolved the interrupt with, if it has."""

    payload: Any = None
    is_cancelled: bool = False


class Interruption:
    """Questions of an agent, and the answers to them: what `interrupt` returns.

    Attributes:
        answers: the answers that there are, by the keys of the questions.
        is_open: whether the user has yet to answer a question. Then `event` ends the run.
        event: the RUN_FINISHED with which the run is to end, as the last event of the agent, if a question is open.
    """

    def __init__(self, input: RunAgentInput, questions: Mapping[str, Question], known: Mapping[str, Answer]) -> None:
        self._count = len(questions)
        digests = {key: _digest(key) for key in questions}
        self.answers: Mapping[str, Answer] = {key: known[name] for key, name in digests.items() if name in known}
        missing = [question for key, question in questions.items() if key not in self.answers]
        self.is_open: bool = bool(missing)
        carried = {name: [answer.payload, answer.is_cancelled] for name, answer in known.items()}
        self.event: dict[str, Any] = {
            "type": "RUN_FINISHED",
            "threadId": input.thread_id,
            "runId": input.run_id,
            "outcome": {
                "type": "interrupt",
                "interrupts": [question._to_interrupt(carried) for question in missing],
            },
        }

    @property
    def answer(self) -> Any:
        """The payload of the answer to the only question; None if that is open or was cancelled.

        Raises ValueError if there are several questions.
        """
        return self._only.payload

    @property
    def is_cancelled(self) -> bool:
        """Whether the user has cancelled the only question. Raises ValueError if there are several questions."""
        return self._only.is_cancelled

    @property
    def _only(self) -> Answer:
        if self._count > 1:
            raise ValueError("there are several questions: their answers are in .answers, by their keys")
        return next(iter(self.answers.values()), Answer())


def interrupt(input: RunAgentInput, context: RunContext | None, *questions: Question | str) -> Interruption:
    """Asks the user something, in an agent of your own: ends this run, and has the answers in a later one.

    Returns the answers that the thread has to these questions. If one of them is missing, the run is to end with
    `Interruption.event`; the agent calls `interrupt` with the same questions again in the run that brings the answer.
    An agent may ask one question after the other: earlier answers are kept until the agent ends a run without a
    question.

    Args:
        input: the input of the run.
        context: its context. Without one, nobody has verified that the answers are to open questions, and earlier
            answers are not known.
        *questions: what to ask; a string is the message of a question.

    Raises:
        ValueError: there is no question, or two have the same key.
    """
    by_key: dict[str, Question] = {}
    for question in questions:
        question = Question(message=question) if isinstance(question, str) else question
        if question.key in by_key:
            raise ValueError(f"interrupt: two questions have the key {question.key!r}; each needs its own")
        by_key[question.key] = question
    if not by_key:
        raise ValueError("interrupt: there must be at least one question, such as interrupt(input, context, 'Really?')")
    return Interruption(input, by_key, _known_answers(input, context))


def _known_answers(input: RunAgentInput, context: RunContext | None) -> dict[str, Answer]:
    """Returns the answers that a run brings, and those to earlier questions, by the digests of their keys."""
    open_interrupts = None if context is None else context.open_interrupts
    earlier: dict[str, Answer] = {}
    brought: dict[str, Answer] = {}
    for entry in parse_resume_entries(getattr(input, "resume", None)):
        if open_interrupts is not None:
            if entry.interrupt_id not in open_interrupts:
                continue
            earlier.update(_carried_answers(open_interrupts[entry.interrupt_id]))
        brought[entry.interrupt_id.partition("-")[0]] = Answer(entry.payload, entry.is_cancelled)
    return {**earlier, **brought}


def _carried_answers(interrupt: Mapping[str, Any]) -> dict[str, Answer]:
    """Returns the answers that an interrupt carries. The store has it, so no client has written them."""
    metadata = interrupt.get("metadata")
    carried = metadata.get(_ANSWERS) if isinstance(metadata, Mapping) else None
    return {name: Answer(*answer) for name, answer in carried.items()} if isinstance(carried, Mapping) else {}


def _digest(key: str) -> str:
    # A model may have written half of a surrogate pair.
    return hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()[:16]
