"""Open Generative UI: pages that a model writes as the arguments of a tool call, shown while it writes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ._generative_ui_names import SANDBOXED_PAGE_TOOL
from ._json_members import Kind, MemberReader, Piece

ACTIVITY_TYPE = "open-generative-ui"

Event = Mapping[str, Any]

_TEXTS = ("css", "jsFunctions")
"""Members that are sent once they are complete."""
_LISTS = {"placeholderMessages": None, "jsExpressions": "jsExpressionsComplete"}
"""Members that are sent item by item, and the one that says that all items have been sent."""


_SHARE = 64
"""Of the HTML that has been sent, the share that the next part has at least: clients copy all of it for each part."""


class SandboxedPages:
    """Adds to the events of a run what shows its pages: an activity message for each call of the tool.

    A call is sent once the first part of its page is known, so that the page has its place before it.
    """

    __slots__ = ("_pages",)

    def __init__(self) -> None:
        self._pages: dict[Any, _Page] = {}
        """The pages of the calls that are open, by the calls' ids."""

    def concerns(self, event: Event) -> bool:
        """Returns False for an event that is sent as it is, as most are: `feed` need not see it."""
        return bool(self._pages) or event["type"] == "TOOL_CALL_START"

    def feed(self, event: Event) -> Iterator[Event]:
        """Yields the events to send in place of the run's next event."""
        kind, call_id = event["type"], event.get("toolCallId")
        open_page = self._pages.get(call_id) if self._pages else None
        if open_page is None and kind == "TOOL_CALL_START" and event.get("toolCallName") == SANDBOXED_PAGE_TOOL:
            self._pages[call_id] = _Page(event)
            return
        if open_page is None:
            if kind in _ENDS:
                yield from self.close()
            yield event
        elif kind == "TOOL_CALL_ARGS":
            yield from open_page.add(event)
        else:  # the end of the call, or what an agent sends instead of it
            del self._pages[call_id]
            yield from open_page.close()
            yield event

    def close(self) -> Iterator[Event]:
        """Yields the rest of pages that are not complete, because the run ends or has failed."""
        pages, self._pages = self._pages, {}
        for page in pages.values():
            yield from page.close()


_ENDS = frozenset(("RUN_FINISHED", "RUN_ERROR"))


class _Page:
    """The page of one call."""

    __slots__ = ("_held", "_html", "_identity", "_is_html_begun", "_is_shown", "_reader", "_sent", "_texts", "_unsent")

    def __init__(self, start: Event) -> None:
        self._held: list[Event] = [start]
        """The events of the call that have not been sent yet."""
        self._identity = {"messageId": f"{start.get('toolCallId')}-activity", "activityType": ACTIVITY_TYPE}
        self._reader = MemberReader()
        self._is_shown = False
        self._is_html_begun = False
        self._html: list[str] = []
        """The parts of the HTML that have not been sent yet."""
        self._unsent = 0
        """How many characters these have."""
        self._sent = 0
        """How many characters of the HTML have been sent."""
        self._texts: dict[str, list[str]] = {}

    def add(self, event: Event) -> Iterator[Event]:
        """Yields the events to send for the next part of the arguments."""
        if self._is_shown:
            yield event
        else:
            self._held.append(event)
        delta = event.get("delta")
        for piece in self._reader.feed(delta) if isinstance(delta, str) else ():
            if not self._is_shown and (height := _initial_height(piece)):
                yield from self._show(height)
                continue
            for path, value in self._changes(piece):
                if not self._is_shown:
                    yield from self._show({})
                yield self._delta(path, value)

    def close(self) -> Iterator[Event]:
        """Yields the events to send when the arguments have ended."""
        if self._is_shown:
            for path, value in self._rest_of_html():
                yield self._delta(path, value)
            yield self._delta("generating", False)
        else:
            yield from self._held

    def _show(self, content: Mapping[str, Any]) -> Iterator[Event]:
        self._is_shown = True
        yield {"type": "ACTIVITY_SNAPSHOT", **self._identity, "content": {**content, "generating": True}}
        yield from self._held
        self._held.clear()

    def _delta(self, path: str, value: Any) -> Event:
        change = {"op": "add", "path": f"/{path}", "value": value}
        return {"type": "ACTIVITY_DELTA", **self._identity, "patch": [change]}

    def _changes(self, piece: Piece) -> Iterator[tuple[str, Any]]:
        """Yields the members of the activity that a part of the arguments changes."""
        name, kind, value = piece
        if name == "html":
            yield from self._html_changes(kind, value)
        elif name in _TEXTS:
            if kind is Kind.TEXT:
                self._texts.setdefault(name, []).append(value)
            elif kind is Kind.TEXT_END:
                yield name, "".join(self._texts.pop(name, ()))
                yield f"{name}Complete", True
        elif name in _LISTS:
            if kind is Kind.ARRAY:
                yield name, []
            elif kind is Kind.ITEM:
                yield f"{name}/-", value
            elif kind is Kind.ARRAY_END and (complete := _LISTS[name]):
                yield complete, True
        else:
            yield from _initial_height(piece).items()

    def _html_changes(self, kind: Kind, value: Any) -> Iterator[tuple[str, Any]]:
        if kind is Kind.TEXT:
            if not self._is_html_begun:
                self._is_html_begun = True
                yield "html", []
            self._html.append(value)
            self._unsent += len(value)
            if self._unsent * _SHARE >= self._sent:
                yield from self._rest_of_html()
        elif kind is Kind.TEXT_END:
            yield from self._rest_of_html()
            yield "htmlComplete", True

    def _rest_of_html(self) -> Iterator[tuple[str, Any]]:
        if self._html:
            yield "html/-", "".join(self._html)
            self._sent += self._unsent
            self._html, self._unsent = [], 0


def _initial_height(piece: Piece) -> dict[str, Any]:
    is_number = isinstance(piece.value, (int, float)) and not isinstance(piece.value, bool)
    return {"initialHeight": piece.value} if piece.name == "initialHeight" and is_number else {}
