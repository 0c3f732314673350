"""What the fake provider plays: a script for each user message."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tests.http_client import unique

from .fake_provider import Exchange, Script, chunk
from .frames import FRAMES, USAGE, Part, Usage


class Scripts:
    """Scripts by the text of the last user message. Each is played for every request with that text."""

    def __init__(self) -> None:
        self._scripts: dict[str, Script] = {}
        self._requests: dict[str, list[Exchange]] = {}

    def on(self, script: Script) -> str:
        """A new message; the server answers it by the script."""
        text = f"{unique('scene')}."
        self._scripts[text] = script
        self._requests[text] = []
        return text

    def requests(self, text: str) -> list[Exchange]:
        """The requests with that message, in order of arrival."""
        return list(self._requests[text])

    def play(self, exchange: Exchange) -> None:
        """The script of the whole server."""
        text = exchange.text()
        if text not in self._scripts:  # APIs in which users and models take turns have all texts of a turn together
            text = next(known for known in self._scripts if text.endswith(known))
        self._requests[text].append(exchange)
        self._scripts[text](exchange)


def by_step(*scripts: Script) -> Script:
    """The n-th script for the n-th step of a run: one step more for every answer of the model's so far."""

    def script(exchange: Exchange) -> None:
        completions = sum(message["role"] == "assistant" for message in exchange.json()["messages"])
        scripts[completions](exchange)

    return script


def _send(items: Sequence[Any], then: Callable[[Exchange], object]) -> Script:
    def script(exchange: Exchange) -> None:
        exchange.start_stream()
        exchange.send(*items)
        then(exchange)

    return script


def send_text(*deltas: str, usage: dict[str, int] | None = None) -> Script:
    """Returns a script that sends a text and finishes."""
    reported = [] if usage is None else [{**chunk({}), "choices": [], "usage": usage}]
    return _send([*(chunk({"content": delta}) for delta in deltas), *reported], lambda exchange: exchange.finish())


def send_chunks(*items: Any, reason: str = "tool_calls") -> Script:
    """Returns a script that sends chunks and finishes."""
    return _send(items, lambda exchange: exchange.finish(reason))


def ends(*items: Any) -> Script:
    """Returns a script that sends something and then ends the stream as if that were all."""
    return _send(items, lambda exchange: exchange.end_stream())


def breaks_off(*items: Any) -> Script:
    """Returns a script that sends something and drops the connection."""
    return _send(items, lambda exchange: None)


def stays_open(*items: Any) -> Script:
    """Returns a script that sends something and never ends the stream."""
    return _send(items, lambda exchange: exchange.wait_for_disconnect())


def answer_over(api: str, *parts: Part, usage: Usage = USAGE) -> Script:
    """Returns a script that sends a whole response of one of the four APIs."""

    def script(exchange: Exchange) -> None:
        exchange.start_stream()
        exchange.send(*FRAMES[api](parts, usage), *(["[DONE]"] if api == "chat" else []))
        exchange.end_stream()

    return script


def send_error(status: int, error: dict[str, Any], **headers: str) -> Script:
    """Returns a script that responds with an error."""
    return lambda exchange: exchange.respond({"error": error}, status, **headers)


def roles(messages: Sequence[dict[str, Any]]) -> list[str]:
    return [message["role"] for message in messages]


def raw(*parts: bytes | str) -> Script:
    """A stream of exactly these bytes."""

    def script(exchange: Exchange) -> None:
        exchange.start_stream()
        for part in parts:
            exchange.send_bytes(part if isinstance(part, bytes) else part.encode())
        exchange.end_stream()

    return script
