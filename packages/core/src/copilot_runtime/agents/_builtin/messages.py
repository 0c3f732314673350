"""The messages of a request to the model, in no API's form."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

from ..._http.headers import media_type

Encrypted: TypeAlias = Mapping[str, Any]
"""What a maker attached, such as a signature, to be sent back unchanged. Its members are the API's own."""


@dataclasses.dataclass(frozen=True, slots=True)
class Text:
    """A text of a message."""

    text: str
    encrypted: Encrypted | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Media:
    """A part that is not text. Exactly one of data, URL and file id is set."""

    kind: str
    """``image``, ``audio``, ``video`` or ``document``."""
    mime_type: str
    name: str
    data: str | None = None
    """In base64."""
    url: str | None = None
    file_id: str | None = None

    @property
    def media_type(self) -> str:
        """The media type without its parameters, in lower case."""
        return media_type(self.mime_type)

    @property
    def address(self) -> str:
        """The URL, or a data URL."""
        return self.url or f"data:{self.mime_type};base64,{self.data}"

    def __str__(self) -> str:
        size = f"about {len(self.data) * 3 // 4} bytes" if self.data is not None else self.url or self.file_id
        return f"{self.kind} ({', '.join(filter(None, (self.name, self.mime_type, size)))})"


@dataclasses.dataclass(frozen=True, slots=True)
class Reasoning:
    """What the model has thought; without a text if the maker does not show it."""

    text: str
    encrypted: Encrypted | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Call:
    """A tool call."""

    id: str
    name: str
    arguments: str
    """A JSON object."""
    encrypted: Encrypted | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class SystemMessage:
    """A message of the application. All but the first may be anywhere in the conversation."""

    text: str
    is_developer: bool = False
    """Whether its role is ``developer``, where an API distinguishes them."""


@dataclasses.dataclass(frozen=True, slots=True)
class UserMessage:
    """A message of the user, not empty."""

    content: str | tuple[Text | Media, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class AssistantMessage:
    """One response of the model, not empty. The results of all of its calls follow immediately."""

    parts: tuple[Text | Reasoning | Call, ...]

    @property
    def calls(self) -> list[Call]:
        """Its tool calls."""
        return [part for part in self.parts if isinstance(part, Call)]


class ToolContent(NamedTuple):
    """What a model receives of the result of a tool call."""

    text: str
    media: tuple[Media, ...] = ()
    """Images and files of the result. Those that an API has no place for in it follow in a message of the user."""


@dataclasses.dataclass(frozen=True, slots=True)
class ToolMessage:
    """The result of a tool call."""

    call_id: str
    name: str
    """The name of the tool."""
    text: str
    media: tuple[Media, ...] = ()


Message: TypeAlias = SystemMessage | UserMessage | AssistantMessage | ToolMessage
