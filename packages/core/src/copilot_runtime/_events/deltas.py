"""Deltas, which most events of a run are: how they are recognised, and what their frames have in common.

A plain delta has its type, its id, a string, and nothing else. While the message, reasoning message or tool call that
it belongs to is known to be open, no check can fail for it that its start or the delta before has passed, and its frame
differs from that of any other in the number and the string only. `RunRecorder` keeps the strings of such deltas, and
makes the frames of all that have come in one step.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from enum import Enum
from json.encoder import encode_basestring
from typing import Any

from pydantic_core import to_json

from .._pydantic_models import BaseModel
from .bursts import encode_burst
from .frames import Piece
from .normalize import wire_fields
from .schema import SCHEMAS
from .sse import Event, decode, encode

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

_REST_SIZE = 16
"""About how large a frame is, apart from what comes between its number and its string, and from that string."""


class DeltaStream:
    """A text message, tool call or reasoning message, to which further deltas may come.

    The frame of a plain delta is ``before``, its number, ``after``, its string as JSON, and the end of the object and
    the frame.

    Args:
        deltas: the type of its deltas.
        identity: its id.
        prefix: how the ids of the run's frames start; empty for a run that is not replayed.
        frame: that of its start event.
        place: where a replay has its deltas as they were, which those of reasoning are; None if they are merged.
    """

    __slots__ = (
        "after",
        "before",
        "delta_field",
        "deltas",
        "first",
        "followers",
        "frame",
        "frame_size",
        "identity",
        "last",
        "metadata",
        "model_class",
        "place",
        "plain_fields",
        "type",
    )

    first: bytes
    """The frame of the first delta, unless it has come with others."""
    last: int
    """The number of the last delta."""
    delta_field: str
    plain_fields: dict[str, Any]
    """Set with ``model_class``."""

    def __init__(
        self, deltas: DeltaType, identity: str, prefix: bytes, frame: bytes = b"", place: list[Piece] | None = None
    ) -> None:
        self.type: DeltaType = deltas
        self.identity: str = identity
        self.before: str = prefix.decode()
        after = f'{deltas.head}{encode_basestring(identity)},"delta":'
        self.after: str = after
        self.frame_size: int = len(after) + _REST_SIZE
        """About how large a frame is, apart from its string."""
        self.frame: bytes = frame
        self.place: list[Piece] | None = place
        self.deltas: list[str] = []
        """Those that have been merged."""
        self.metadata: dict[str, Any] | None = None
        """That of all these."""
        self.followers: list[Piece] | None = None
        """Frames that came while this was open, to be placed after it."""
        self.model_class: type[Any] | None = None
        """The class of the model that was the last delta, if one was. Its further models are plain deltas of the same
        message if their fields are ``plain_fields`` once these have their string, which is in ``delta_field``."""

    def append_delta(self, number: int, event: Event, frame: bytes) -> DeltaStream:
        """Merges a delta, unless its run is not replayed. Returns this stream."""
        if not self.before:
            return self
        if "metadata" in event:
            # Read from the frame, because the agent may still change the event's own objects. Before all else, because
            # there are numbers that can be written, but not read.
            self.metadata = {**(self.metadata or {}), **decode(frame)["metadata"]}
        if not self.deltas:
            self.first = frame
        self.deltas.append(event["delta"])
        self.last = number
        return self

    def merged_frame(self) -> bytes:
        """Returns one frame in place of those of all deltas, of which there is one or more."""
        if len(self.deltas) == 1:
            return self.first
        head = f"{self.before}{self.last}{self.after}".encode()
        metadata = b"" if self.metadata is None else b',"metadata":%b' % encode(self.metadata)
        return b"%b%b%b}\n\n" % (head, to_json("".join(self.deltas)), metadata)

    def expect(self, model: DeltaModel) -> None:
        """Has further models of a class recognised."""
        if self.model_class is not model.model_class:
            self.model_class = model.model_class
            self.delta_field = model.delta_field
            self.plain_fields = {**model.plain_fields, model.id_field: self.identity}

    def encode(self, deltas: Sequence[str], first: int) -> Piece:
        """Returns the frames of deltas, of which the first one has the number ``first``.

        Raises UnicodeEncodeError for half a character.
        """
        if len(deltas) == 1:
            return f"{self.before}{first}{self.after}{encode_basestring(deltas[0])}}}\n\n".encode()
        return encode_burst(self.before, self.after, deltas, first)

    def event(self, delta: str) -> Event:
        """Returns a delta as an agent may have yielded it."""
        return {"type": self.type.kind, self.type.id_member: self.identity, "delta": delta}


@dataclasses.dataclass(frozen=True, slots=True)
class DeltaModel:
    """How plain deltas are read from the models of one class: a dict of each would cost more than all the rest.

    The model is a plain delta if its fields are ``plain_fields``, apart from its id and its string: there is a null for
    each member that plain deltas lack.
    """

    model_class: type[BaseModel]
    kind: str
    id_field: str
    delta_field: str
    plain_fields: Mapping[str, Any]

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
        if any(field.keeps_null for field in wire.values() if field.name not in own) or not fields.keys() >= set(own):
            return None
        plain_fields = {**dict.fromkeys(wire), fields["type"]: default}
        return cls(model, kind, fields[DELTA_IDS[kind]], fields["delta"], plain_fields)


class _DeltaModels(dict[type, "DeltaModel | None"]):
    """The `DeltaModel` of each class of models, made when it is first looked up; None for all other classes."""

    def __missing__(self, kind: type) -> DeltaModel | None:
        if not issubclass(kind, BaseModel):
            return None
        found = self[kind] = DeltaModel.of_class(kind)
        return found


DELTA_MODELS = _DeltaModels()
