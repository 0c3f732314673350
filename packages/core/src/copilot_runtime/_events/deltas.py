"""Deltas, which most events of a run are: how they are recognised, and what their frames have in common.

A plain delta has its type, its id, a string, and nothing else. While the message, reasoning message or tool call that
it belongs to is known to be open, no check can fail for it that its start or the delta before has passed, and its frame
differs from that of any other in the number and the string only. `RunRecorder` keeps the strings of such deltas, and
makes the frames of all that have come in one step.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum
from json.encoder import encode_basestring
from operator import itemgetter
from typing import Any

from .._pydantic_models import BaseModel
from .compaction import OpenMessage
from .frames import Piece
from .normalize import wire_fields
from .schema import SCHEMAS
from .sse import Event

DELTA_IDS: Mapping[str, str] = {
    kind: schema.strings[0] for kind, schema in SCHEMAS.items() if schema.strings[1:] == ("delta",)
}
"""The types of deltas, and the member of each that holds the id."""

PLAIN_SIZE = 3
"""How many members a plain delta has."""


def in_order(event: Event, id_member: str) -> Event:
    """Returns a plain delta with its members in the order in which the frames of a `DeltaStream` have them."""
    return {"type": event["type"], id_member: event[id_member], "delta": event["delta"]}


@dataclasses.dataclass(frozen=True, slots=True)
class DeltaType:
    """A type of deltas."""

    kind: str
    id_member: str
    """The member with the id."""
    head: str
    """What comes between the number of a frame and that id."""


DELTA_TYPES: Mapping[str, DeltaType] = {
    kind: DeltaType(kind, id_member, f'\ndata: {{"type":"{kind}","{id_member}":')
    for kind, id_member in DELTA_IDS.items()
}

_NUMBER_SIZE = 6
"""About how many digits the number of an event has, with the end of its frame."""


_END = "}\n\n"
"""The end of a delta's object, and of its frame."""

_DIGITS = [f"{number}" for number in range(1000)]
_PADDED_DIGITS = [f"{number:03}" for number in range(1000)]
"""How the last three digits of a number are written, which takes longer to format than to look up."""

_MIN_LOOKUPS = 32
"""From how many deltas on that is faster, measured."""


class DeltaStream:
    """What all plain deltas of one message, reasoning message or tool call have in common.

    The frame of one is ``before``, its number, ``after``, its string as JSON, and the end of the object and the
    frame.
    """

    __slots__ = (
        "after",
        "before",
        "delta_field",
        "frame_size",
        "identity",
        "message",
        "model_class",
        "others",
        "read_others",
        "records",
        "type",
    )

    def __init__(
        self,
        prefix: bytes,
        deltas: DeltaType,
        identity: str,
        message: OpenMessage | None,
        records: list[Piece] | None,
    ) -> None:
        self.type = deltas
        self.identity = identity
        self.before = before = prefix.decode()
        self.after = after = f'{deltas.head}{encode_basestring(identity)},"delta":'
        self.message = message
        """What the deltas are merged into; None for reasoning, which a replay has as it was."""
        self.records = records
        """Where a replay has the deltas of reasoning."""
        self.frame_size = len(before) + len(after) + _NUMBER_SIZE
        """About how large a frame is, apart from its string."""
        self.model_class: type[Any] | None = None
        """The class of the model that was the last delta, if one was. Its further models are plain deltas of the same
        message if ``read_others``, called with their fields, returns ``others``; ``delta_field`` has their string."""

    def expect(self, model: DeltaModel) -> None:
        """Has further models of a class recognised."""
        if self.model_class is not model.model_class:
            self.model_class = model.model_class
            self.delta_field = model.delta_field
            self.read_others = model.read_others
            self.others = model.others_of(self.identity)

    def encode(self, deltas: Sequence[str], first: int) -> bytes:
        """Returns the frames of several deltas, joined, of which the first one has the number ``first``."""
        before, after, count = self.before, self.after, len(deltas)
        # As `sse.encode` writes strings, at a third of the cost.
        if count < _MIN_LOOKUPS:
            frames = [f"{number}{after}{encode_basestring(delta)}" for number, delta in enumerate(deltas, first)]
            between = f"{_END}{before}"
            return f"{before}{between.join(frames)}{_END}".encode()
        return "".join(self._encode_thousands(deltas, first)).encode()

    def _encode_thousands(self, deltas: Sequence[str], first: int) -> Iterator[str]:
        """Yields the same, for the deltas of each thousand of numbers."""
        after, done, rest = self.after, 0, iter(deltas)
        while done < len(deltas):
            thousands, start = divmod(first + done, 1000)
            digits = (_PADDED_DIGITS if thousands else _DIGITS)[start:]
            # In this order: no delta is taken for which there are no digits.
            frames = [f"{number}{after}{encode_basestring(delta)}" for number, delta in zip(digits, rest, strict=False)]
            done += len(frames)
            before = f"{self.before}{thousands or ''}"
            yield before
            yield f"{_END}{before}".join(frames)
            yield _END

    def event(self, delta: str) -> Event:
        """Returns a delta as an agent may have yielded it."""
        return {"type": self.type.kind, self.type.id_member: self.identity, "delta": delta}


@dataclasses.dataclass(frozen=True, slots=True)
class DeltaModel:
    """How plain deltas are read from the models of one class: a dict of each would cost more than all the rest.

    The model is a plain delta if ``read_others``, called with its fields, returns its type, its id, and a null for each
    member that plain deltas lack.
    """

    model_class: type[BaseModel]
    kind: str
    id_field: str
    delta_field: str
    read_others: Callable[[Mapping[str, Any]], tuple[Any, ...]]
    type_value: Any
    nulls: tuple[None, ...]

    def others_of(self, identity: str) -> tuple[Any, ...]:
        """Returns what ``read_others`` returns for plain deltas with an id."""
        return (self.type_value, identity, *self.nulls)

    @classmethod
    def of_class(cls, model: type[BaseModel]) -> DeltaModel | None:
        """Returns how to read the models of a class, or None if no plain deltas can be read from them."""
        wire = wire_fields(model)
        fields = {field.name: name for name, field in wire.items()}
        default = model.model_fields[fields["type"]].default if "type" in fields else None
        kind: Any = default.value if isinstance(default, Enum) else default
        if not isinstance(kind, str) or kind not in DELTA_IDS:
            return None
        own = ("type", DELTA_IDS[kind], "delta")
        others = {name: field.keeps_null for name, field in wire.items() if field.name not in own}
        if any(others.values()) or not fields.keys() >= set(own):
            return None
        id_field = fields[DELTA_IDS[kind]]
        read_others = itemgetter(fields["type"], id_field, *others)
        return cls(model, kind, id_field, fields["delta"], read_others, default, (None,) * len(others))


class _DeltaModels(dict[type, "DeltaModel | None"]):
    """The `DeltaModel` of each class of models, made when it is first looked up; None for all other classes."""

    def __missing__(self, kind: type) -> DeltaModel | None:
        if not issubclass(kind, BaseModel):
            return None
        found = self[kind] = DeltaModel.of_class(kind)
        return found


DELTA_MODELS = _DeltaModels()
