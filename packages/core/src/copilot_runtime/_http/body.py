"""Bodies of requests, which are read when they are first needed.

A client that nobody has identified yet can make a server wait for a body that never ends, and hold what it has sent. So
nothing is read before something asks for the body.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod

from .form import FormPart


class BodyError(Exception):
    """The body of a request could not be read. The handler answers the request accordingly."""


@dataclasses.dataclass(frozen=True, slots=True)
class BodyLimit:
    """The largest body that a request may have.

    Attributes:
        max_bytes: how many bytes it has.
        advice: what to do about a larger one, beside sending less.
        digits: how many digits that number has: a declared length of fewer is within the limit.
    """

    max_bytes: int
    advice: str
    digits: int = dataclasses.field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "digits", len(str(int(self.max_bytes))))  # of a framework, it may be a float


class BodyTooLarge(BodyError):
    """The body is larger than it may be. The text says what to do instead, and is sent to the client."""

    def __init__(self, limit: BodyLimit) -> None:
        super().__init__(f"The body is larger than {limit.max_bytes} bytes. Send less, or {limit.advice}.")


class BodyTimeout(BodyError):
    """The body did not arrive in time."""


class TooManyBodies(BodyError):
    """The bodies of all current requests are as large as they may be together."""


class TooManyBodiesOfUser(BodyError):
    """The bodies of a user's current requests are as large as they may be together."""


class UnreadableBody(BodyError):
    """The client has disconnected before the end of the body, or has sent what is not a body, such as wrong chunks."""


class RequestBody(ABC):
    """The body of a request, which is read once, by whichever code needs it first."""

    __slots__ = ()

    @property
    @abstractmethod
    def is_read(self) -> bool:
        """Whether the whole body has been read."""

    @property
    @abstractmethod
    def form(self) -> tuple[FormPart, ...] | None:
        """The parts of a multipart body that the framework has parsed instead; None before the body was read."""

    @abstractmethod
    async def read(self) -> bytes:
        """Returns the whole body. Raises BodyError."""

    @abstractmethod
    def read_blocking(self) -> bytes:
        """Returns the whole body, from code that may block.

        Raises BodyError, and RuntimeError on an event loop that would have to wait.
        """

    @abstractmethod
    def limit(self, limit: BodyLimit) -> None:
        """Sets the largest body that is read."""

    @abstractmethod
    def set_owner(self, owner: str) -> None:
        """Sets the key of the user whose body it is, among whose bodies it counts if nothing has been read of it."""

    @abstractmethod
    def close(self) -> bytes | None:
        """Called when the request has been handled.

        Returns what can take the place of this, the whole body, if it was read and was no form of the framework's.
        """
