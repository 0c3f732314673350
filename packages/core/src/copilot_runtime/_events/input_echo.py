"""The ``input`` of RUN_STARTED: what the agent was called with, as clients accept it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from .shapes import RUN_INPUT
from .sse import encode_parsed


class InputEcho(NamedTuple):
    """An input for RUN_STARTED.

    Attributes:
        data: the input, as one line of JSON that clients accept.
        message_ids: the ids of its messages.
    """

    data: bytes
    message_ids: tuple[str, ...]


def encode_echo(run_input: Mapping[str, Any]) -> InputEcho:
    """Returns an input, as it was parsed from JSON, without what clients would reject. Raises InvalidEventError."""
    return InputEcho(encode_parsed(RUN_INPUT(run_input)), tuple(message_ids(run_input)))


def message_ids(run_input: Mapping[str, Any]) -> list[str]:
    """Returns the ids of the messages in an input."""
    messages = run_input.get("messages", ())
    ids = (message.get("id") for message in messages if isinstance(message, dict))
    return [identity for identity in ids if isinstance(identity, str)]
