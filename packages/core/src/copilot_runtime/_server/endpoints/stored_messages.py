"""Inserts stored messages of a thread into the input of a run."""

from __future__ import annotations

import dataclasses
import logging
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from pydantic_core import to_json

from ..._engine import RunRequest, interleave
from ...agents._json_body import JSONBody
from ..errors import InvalidRunInput
from ..input_limits import InputLimits
from .run_input import parse_input, size_in_memory

logger = logging.getLogger("copilot_runtime.endpoints")

InsertedMessages: TypeAlias = Mapping[int, Sequence[Mapping[str, Any]]]

STORED_LIMITS = InputLimits(max_messages=sys.maxsize, max_parts=sys.maxsize, max_depth=sys.maxsize)
"""What the store has was within the limits when it came."""


class _ForAgent(NamedTuple):
    """A stored message as agents receive it; None where they do not."""

    model: Any
    wire: Mapping[str, Any] | None
    """Without URLs that no agent may fetch."""


def insert_messages(request: RunRequest, inserted: InsertedMessages, *, url_schemes: Collection[str]) -> RunRequest:
    """Returns a run with stored messages in its input.

    A stored message that AG-UI's models refuse, such as one of another version, stays in the thread and reaches no
    agent.

    Args:
        request: the run.
        inserted: stored messages, by the index in the run's own that they come before.
        url_schemes: the schemes that agents may fetch, in lower case.
    """
    parser = _Parser(request, url_schemes)
    stored = {index: list(parser.parse(messages)) for index, messages in inserted.items()}
    refused = parser.refused
    if refused:
        logger.warning(
            "%d stored messages of thread %r reach no agent: %s", len(refused), request.thread_id, refused[0]
        )
    models = interleave(
        _align(request.input.messages, request.messages),
        {index: [each.model for each in messages] for index, messages in stored.items()},
    )
    safe = {index: [each.wire for each in messages] for index, messages in stored.items()}
    body = _with_messages(request.body, inserted)
    agent_body = request.context.body
    # What agents get differs where it has URLs that they may not fetch.
    differs = isinstance(agent_body, JSONBody) and agent_body.data is not request.body.data
    if differs or safe != {index: list(messages) for index, messages in inserted.items()}:
        agent_data = _with_messages(agent_body, safe).data
    else:
        agent_data = body.data
    return dataclasses.replace(
        request,
        input=request.input.model_copy(update={"messages": [model for model in models if model is not None]}),
        body=body,
        context=dataclasses.replace(request.context, body=JSONBody(agent_data)),
        memory=request.memory + parser.memory,
    )


class _Parser:
    """Parses stored messages as those of a request, for the agent of a run.

    Attributes:
        memory: about how much memory those take that have been parsed.
        refused: why the others were refused.
    """

    def __init__(self, request: RunRequest, url_schemes: Collection[str]) -> None:
        self._ids = {"threadId": request.thread_id, "runId": request.run_id}
        self._url_schemes = url_schemes
        self.memory = 0
        self.refused: list[InvalidRunInput] = []

    def parse(self, messages: Sequence[Mapping[str, Any]]) -> Iterator[_ForAgent]:
        """Yields what an agent receives of each message."""
        data = to_json({**self._ids, "messages": messages})
        try:
            parsed = parse_input(data, STORED_LIMITS, self._url_schemes)
        except InvalidRunInput as error:
            if len(messages) == 1:
                self.refused.append(error.with_traceback(None))  # which has the frame of all messages
                yield _ForAgent(None, None)
                return
        else:
            self.memory += size_in_memory(parsed)
            safe = messages if parsed.agent_body is data else JSONBody(parsed.agent_body)["messages"]
            yield from map(_ForAgent, _align(parsed.model.messages, messages), safe)
            return
        # One of them is refused, and AG-UI does not say reliably which one.
        middle = len(messages) // 2
        yield from self.parse(messages[:middle])
        yield from self.parse(messages[middle:])


def _align(models: Sequence[Any], messages: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Returns the model of each message; None for activities, which agents do not receive."""
    rest = iter(models)
    return [None if message.get("role") == "activity" else next(rest) for message in messages]


def _with_messages(body: Mapping[str, Any], inserted: Mapping[int, Sequence[Mapping[str, Any] | None]]) -> JSONBody:
    messages = [message for message in interleave(body["messages"], inserted) if message is not None]
    return JSONBody.encode({**body, "messages": messages})
