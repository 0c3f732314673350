"""Failures that agents report to the client by a code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class AgentError(Exception):
    """A failure of an agent that ends its run with a ``RUN_ERROR``.

    Subclasses list their codes in `messages`.

    Args:
        code: the code of the ``RUN_ERROR``.
        message: a text that clients may read; by default the code's own.
        detail: the cause, for the log. Clients receive it in debug mode only.
    """

    messages: ClassVar[Mapping[str, str]] = {}
    """The default message of each code."""

    def __init__(self, code: str, message: str = "", detail: str = "") -> None:
        self.code = code
        self.message: str = message or self.messages[code]
        self.detail = detail
        super().__init__(f"{self.message} ({detail})" if detail else self.message)

    def to_event(self, *, with_detail: bool) -> dict[str, Any]:
        """Returns the ``RUN_ERROR`` event, on the wire."""
        return {"type": "RUN_ERROR", "message": str(self) if with_detail else self.message, "code": self.code}
