"""The messages of a run as a maker of models accepts them.

A conversation has what makers refuse, each something else: ids of calls that another maker has made, messages without
a text, no message of the user at the beginning or the end, instructions in the middle, images and files in
the results of tools.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Container, Iterable, Iterator, Sequence

from .maker_rules import MakerRules
from .messages import AssistantMessage, Call, Media, Message, Reasoning, SystemMessage, Text, ToolMessage, UserMessage
from .wire_tools import WireTools

_BEGIN = UserMessage("[The conversation begins.]")
_CONTINUE = UserMessage("[Continue.]")
_NO_ANSWER = AssistantMessage((Text("[There was no answer.]"),))
_CALL_ID_PREFIX = "call_"


class WireMessages:
    """The messages of one run; later steps only convert what is new.

    Args:
        rules: what the maker accepts.
        tools: the tools of the run.
    """

    def __init__(self, rules: MakerRules, tools: WireTools) -> None:
        self._rules = rules
        self._tools = tools
        self._call_ids: dict[str, str] = {}
        self._messages: list[Message] | None = None
        self._count = 0

    def update(self, messages: Sequence[Message]) -> list[Message]:
        """Returns all messages; ``messages`` begin with those of the call before."""
        unchanged = () if self._rules.refuses_blanks else (UserMessage,)
        converted = [each if isinstance(each, unchanged) else self._convert(each) for each in messages[self._count :]]
        new: list[Message] = list(filter(None, converted))
        if ToolMessage in set(map(type, new)):
            new = list(_with_media(new, self._rules.media_in_results))
            if self._rules.takes_turns:
                new = list(_in_turns(new))
        self._count = len(messages)
        self._messages = self._arranged(new) if self._messages is None else [*self._messages, *new]
        return self._messages

    def called_tools(self) -> list[str]:
        """Returns the maker's names of the tools that are called."""
        return [call.name for each in self._messages or () if isinstance(each, AssistantMessage) for call in each.calls]

    def _convert(self, message: Message) -> Message | None:
        if isinstance(message, UserMessage):
            return _without_blanks(message)
        if isinstance(message, ToolMessage):
            return dataclasses.replace(
                message, call_id=self._call_id(message.call_id), name=self._tools.wire_name(message.name)
            )
        if isinstance(message, AssistantMessage):
            parts = [self._call(part) if isinstance(part, Call) else part for part in message.parts]
            # A text with something attached is part of the reasoning.
            kept = [part for part in parts if not isinstance(part, Text) or part.text.strip() or part.encrypted]
            # Makers reject reasoning that led to nothing.
            if self._rules.refuses_last_reasoning or all(isinstance(part, Reasoning) for part in kept):
                while kept and isinstance(kept[-1], Reasoning):
                    kept.pop()
            return AssistantMessage(tuple(kept)) if kept else None
        return message if message.text.strip() else None

    def _call(self, call: Call) -> Call:
        return dataclasses.replace(call, id=self._call_id(call.id), name=self._tools.wire_name(call.name))

    def _call_id(self, call_id: str) -> str:
        accepted = self._rules.call_id
        if accepted.fullmatch(call_id):
            return call_id
        if call_id not in self._call_ids:
            digest = hashlib.sha256(call_id.encode("utf-8", "surrogatepass")).hexdigest()
            candidates = (f"{_CALL_ID_PREFIX}{digest[:32]}", digest[:9])
            self._call_ids[call_id] = next(each for each in candidates if accepted.fullmatch(each))
        return self._call_ids[call_id]

    def _arranged(self, messages: Sequence[Message]) -> list[Message]:
        rules = self._rules
        if not rules.starts_with_user:
            return list(messages)
        system = [each for each in messages if isinstance(each, SystemMessage)]
        others: list[Message] = [each for each in messages if not isinstance(each, SystemMessage)]
        if rules.takes_turns:
            others = list(_in_turns(others))
        if not isinstance(others[0] if others else None, UserMessage):
            others.insert(0, _BEGIN)
        if rules.ends_with_user and isinstance(others[-1], AssistantMessage):
            others.append(_CONTINUE)
        return [*system, *others]


def _without_blanks(message: UserMessage) -> UserMessage | None:
    if isinstance(message.content, str):
        return message if message.content.strip() else None
    parts = [part for part in message.content if part.__class__ is Media or part.text.strip()]  # type: ignore[union-attr]
    if len(parts) == len(message.content):
        return message
    return UserMessage(tuple(parts)) if parts else None


def _with_media(messages: Iterable[Message], in_results: Container[str]) -> Iterator[Message]:
    """Yields messages, and after the results of tools those media in them that the API has no place for there.

    Args:
        messages: the messages.
        in_results: the kinds of media that results may contain.
    """
    following: list[Text | Media] = []
    for message in messages:
        if following and not isinstance(message, ToolMessage):
            yield UserMessage(tuple(following))
            following = []
        if isinstance(message, ToolMessage):
            others = tuple(media for media in message.media if media.kind not in in_results)
            if others:
                following += [Text(f"[The attachments of the result of {message.name}:]"), *others]
                kept = tuple(media for media in message.media if media.kind in in_results)
                message = dataclasses.replace(message, media=kept)
        yield message
    if following:
        yield UserMessage(tuple(following))


def _in_turns(messages: Iterable[Message]) -> Iterator[Message]:
    """Yields messages so that users and models take turns."""
    last: Message | None = None
    for message in messages:
        if isinstance(last, UserMessage) and isinstance(message, UserMessage):
            last = UserMessage((*_parts(last), *_parts(message)))
            continue
        if isinstance(last, AssistantMessage) and isinstance(message, AssistantMessage):
            last = AssistantMessage((*last.parts, *message.parts))
            continue
        if last is not None:
            yield last
        if isinstance(last, ToolMessage) and isinstance(message, UserMessage):
            yield _NO_ANSWER
        last = message
    if last is not None:
        yield last


def _parts(message: UserMessage) -> tuple[Text | Media, ...]:
    return (Text(message.content),) if isinstance(message.content, str) else message.content
