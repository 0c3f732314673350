"""Images and files in the results of tools, which models that can receive them see."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Self

from ..._http.headers import media_type

_BINARY_KINDS = frozenset(("image", "audio", "video"))
MAX_ATTACHMENT_BYTES = 3_900_000
"""Of one attachment. Anthropic accepts images of 5 MiB in base64."""


@dataclasses.dataclass(frozen=True, slots=True)
class Attachment:
    """An image, a PDF or a recording that a tool returns, alone or in a list with texts.

    The model receives it in the run that has called the tool. Clients, and later runs, receive a line that describes
    it.

    Args:
        data: the bytes of the file.
        mime_type: the media type, such as ``image/png`` or ``application/pdf``.
        name: the name of the file.

    Raises TypeError for data that is not bytes, and for a media type that is not a string.
    """

    data: bytes = dataclasses.field(repr=False)
    mime_type: str
    name: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.data, bytes | bytearray | memoryview):
            raise TypeError(
                f"Attachment: data must be bytes, such as path.read_bytes(), not {type(self.data).__name__}"
            )
        if not isinstance(self.mime_type, str):
            raise TypeError(f"Attachment: mime_type={self.mime_type!r} must be a string, such as 'image/png'")
        object.__setattr__(self, "data", bytes(self.data))

    @property
    def kind(self) -> str:
        """``image``, ``audio``, ``video`` or ``document``."""
        group = media_type(self.mime_type).partition("/")[0]
        return group if group in _BINARY_KINDS else "document"

    @property
    def can_be_shown(self) -> bool:
        """Whether there are models that accept it."""
        mime_type = media_type(self.mime_type)
        is_known = mime_type == "application/pdf" if self.kind == "document" else mime_type != "image/svg+xml"
        return is_known and 0 < len(self.data) <= MAX_ATTACHMENT_BYTES

    def describe(self, *, shown: bool) -> str:
        """Returns a line in place of the attachment.

        Args:
            shown: whether the reader receives it as well.
        """
        name = f" {self.name}" if self.name else ""
        description = f"{self.kind}{name} of type {self.mime_type}, {len(self.data)} bytes"
        return f"[{description}: attached]" if shown else f"[{description}: it cannot be shown to you]"


class ResultText(str):
    """A result as text, for all that know no attachments, with those that a model may receive."""

    __slots__ = ("attachments", "for_model")

    attachments: tuple[Attachment, ...]
    for_model: str
    """The text for a model that receives the attachments."""

    @classmethod
    def build(cls, write: Callable[[bool], str], attachments: Sequence[Attachment]) -> Self:
        """Returns a result.

        Args:
            write: returns the text; called with whether its reader receives the attachments.
            attachments: those that can be shown.
        """
        text = cls(write(False))
        text.attachments = tuple(attachments)
        text.for_model = write(True)
        return text


def with_attachments(value: Any, serialise: Callable[[Any], str]) -> Any:
    """Returns what a tool has returned, with its attachments as a `ResultText`; anything else as it is.

    Args:
        value: an attachment, a list or tuple that contains some, or any other value.
        serialise: returns any other value as text.
    """
    parts = value if isinstance(value, list | tuple) else (value,)
    if not any(isinstance(part, Attachment) for part in parts):
        return value

    def write(shown: bool) -> str:
        return "\n\n".join(
            part.describe(shown=shown and part.can_be_shown) if isinstance(part, Attachment) else serialise(part)
            for part in parts
        )

    return ResultText.build(write, [part for part in parts if isinstance(part, Attachment) and part.can_be_shown])
