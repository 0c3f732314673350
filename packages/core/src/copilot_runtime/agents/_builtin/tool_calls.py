"""Puts the tool calls of a completion together from their pieces.

OpenAI sends a call's index with each piece, and its id and name with the first one. Other servers omit, repeat or
change any of them. Each piece is added to the call that it continues. If that is not certain, the call has a fault,
which the model receives as its result: a call must never be run with only some of its pieces.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from ..._events.surrogates import join_surrogates
from .._tools.arguments import parse_arguments
from .._tools.tool import ToolError
from .deltas import ToolCallPiece
from .messages import Encrypted

UNNAMED = "unnamed_tool"
"""The name of a call that was received without one."""

_NO_NAME = "The call was not run: it did not name a tool."
_NO_ARGUMENTS = "The call was not run: its arguments were not received."
TRUNCATED = "The call was not run: the response reached its token limit while the call was being written."
BROKEN_OFF = "The call was not run: the response of the model broke off."


@dataclasses.dataclass(slots=True)
class ToolCall:
    """A tool call, as far as it has been received."""

    id: str
    name: str = ""
    index: Any = None
    """Its index in the stream."""
    provider_id: str = ""
    """Its id in the stream."""
    encrypted: Encrypted | None = None
    fault: str | None = None
    """Why it must not be run; the model receives this text."""
    deltas: list[str] = dataclasses.field(default_factory=list)
    """The pieces of its arguments."""
    is_empty: bool = True
    """Whether no arguments have been received, or blanks only."""
    has_started: bool = False
    """Whether its first event has been yielded."""
    deltas_yielded: int = 0

    def extend(self, deltas: Iterable[str]) -> None:
        """Adds pieces of the arguments."""
        for delta in deltas:
            self.deltas.append(delta)
            self.is_empty = self.is_empty and not delta.strip()

    def next_deltas(self) -> list[str]:
        """Returns the pieces of the arguments since the last time it was called."""
        deltas, self.deltas_yielded = self.deltas[self.deltas_yielded :], len(self.deltas)
        return deltas

    @property
    def arguments(self) -> str:
        return join_surrogates("".join(self.deltas))

    @property
    def is_complete(self) -> bool:
        """Whether the arguments are a JSON object, so that no further piece can belong to them."""
        return not self.is_empty and self.arguments_fault() is None

    def arguments_fault(self) -> str | None:
        """Returns why the arguments cannot be used; None if they are a JSON object, or empty."""
        try:
            parse_arguments(self.arguments)
        except ToolError as error:
            return str(error)
        return None


class ToolCallAssembler:
    """Collects the tool calls of one completion.

    Args:
        new_id: returns the id of a new call; called with the server's, which may be empty.
    """

    def __init__(self, new_id: Callable[[str], str]) -> None:
        self.calls: list[ToolCall] = []
        """Those without a name are included."""
        self._new_id = new_id

    def add(self, pieces: Iterable[ToolCallPiece]) -> Iterator[ToolCall]:
        """Adds the pieces of one chunk, and yields the call of each piece after it was added."""
        begun: list[ToolCall] = []
        for piece in pieces:
            call = self._find(piece, begun)
            if call is None:
                if not (piece.id or piece.name or piece.arguments):
                    continue
                call = ToolCall(self._new_id(piece.id), index=piece.index, provider_id=piece.id)
                self.calls.append(call)
                begun.append(call)
            elif piece.name and piece.arguments and call.arguments == piece.arguments:
                continue  # the complete call, repeated
            call.name = _joined_name(call.name, piece.name)
            call.encrypted = piece.encrypted or call.encrypted
            if piece.arguments:
                call.extend((piece.arguments,))
            yield call

    def discard(self, fault: str) -> None:
        """Gives every call the same fault, and drops those without a name, because the completion has failed."""
        self.calls = [call for call in self.calls if call.name]
        for call in self.calls:
            call.fault = fault

    def settle(self, *, truncated: ToolCall | None = None) -> None:
        """Decides which calls can be run, once the completion has ended without a failure.

        Args:
            truncated: the call that was being written when the completion reached its token limit.
        """
        received, self.calls = self.calls, []
        for call in received:
            owner = None if call.name or call.provider_id else self._only_incomplete_call()
            if owner is None:
                self.calls.append(call)
            else:
                owner.extend(call.deltas)  # a piece with an index of its own
                truncated = owner if call is truncated else truncated
        # Arguments without a name may be those of any call that has none.
        are_arguments_lost = not all(call.name for call in received)
        for number, call in enumerate(self.calls):
            if not call.name:
                call.name, call.fault = UNNAMED, _NO_NAME
            elif call.is_empty and (are_arguments_lost or _is_resumed(call, self.calls[number + 1 :])):
                call.fault = _NO_ARGUMENTS
            else:
                call.fault = TRUNCATED if call is truncated else call.arguments_fault()

    def _only_incomplete_call(self) -> ToolCall | None:
        """Returns the call to which a piece without an id or a name must belong, if there is only one such call."""
        if self.calls and not self.calls[-1].name:
            return self.calls[-1]
        incomplete = [call for call in self.calls if not call.is_complete]
        return incomplete[0] if len(incomplete) == 1 else None

    def _find(self, piece: ToolCallPiece, begun: Sequence[ToolCall]) -> ToolCall | None:
        """Returns the call that a piece continues; None for the first piece of a call.

        Args:
            piece: the piece.
            begun: the calls that began in the same chunk.
        """
        call = next(self._candidates(piece), None)
        if call is None or not _continues(call, piece):
            return None
        has_same_id = bool(piece.id) and piece.id == call.provider_id
        return None if piece.name and call in begun and not has_same_id else call

    def _candidates(self, piece: ToolCallPiece) -> Iterator[ToolCall]:
        """Yields the calls that a piece may continue, the most likely first."""
        latest = self.calls[::-1]
        if piece.id:
            same_id = [call for call in latest if call.provider_id == piece.id]
            yield from (call for call in same_id if call.index == piece.index)
            yield from same_id
        if piece.index is not None:
            yield from (call for call in latest if call.index == piece.index)
        elif not piece.id:
            yield from latest


def _continues(call: ToolCall, piece: ToolCallPiece) -> bool:
    """Returns whether a piece with the same index or id continues a call, and does not begin another."""
    if not piece.name:
        return True
    if piece.id and call.provider_id and piece.id != call.provider_id:
        return False
    if not call.name:
        return True
    if piece.name == call.name:
        return not piece.arguments or piece.arguments == call.arguments or not call.is_complete
    return call.is_empty and not call.has_started


def _is_resumed(call: ToolCall, later: Sequence[ToolCall]) -> bool:
    """Returns whether a later call has the same index and name, so that it may have the call's arguments."""
    return call.index is not None and any((call.index, call.name) == (other.index, other.name) for other in later)


def _joined_name(name: str, piece: str) -> str:
    """Returns a name with its next piece; servers also repeat it, or send all of it that they have so far."""
    return piece if piece.startswith(name) else name + piece
