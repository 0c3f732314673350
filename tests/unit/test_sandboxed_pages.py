"""Open Generative UI: the activities that show a page while a model writes it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from copilot_runtime._events import apply_events
from copilot_runtime.middleware._sandboxed_pages import SandboxedPages

from .cost_helpers import assert_linear

Event = Mapping[str, Any]
PAGE = {
    "initialHeight": 300,
    "placeholderMessages": ["drawing", "almost there"],
    "css": "p { color: red }",
    "html": '<p>"Größe" 😀</p>',
    "jsFunctions": "function f() {}",
    "jsExpressions": ["f()\n", "f(1)"],
}


def call(*parts: str, name: str = "generateSandboxedUi", call_id: str = "c1") -> list[Event]:
    """Returns the events of a tool call."""
    return [
        {"type": "TOOL_CALL_START", "toolCallId": call_id, "toolCallName": name},
        *({"type": "TOOL_CALL_ARGS", "toolCallId": call_id, "delta": part} for part in parts),
        {"type": "TOOL_CALL_END", "toolCallId": call_id},
    ]


def feed(*events: Event) -> list[Event]:
    pages = SandboxedPages()
    return [*(sent for event in events for sent in pages.feed(event)), *pages.close()]


def brief(events: list[Event]) -> list[Any]:
    """Returns the content of snapshots, the path and value of deltas, and the types of other events."""
    return [
        event.get("content") or (event["patch"][0]["path"], event["patch"][0]["value"])
        if event["type"].startswith("ACTIVITY")
        else event["type"].removeprefix("TOOL_CALL_")
        for event in events
    ]


def activities(events: list[Event]) -> list[Any]:
    """Returns the contents of the activity messages that a client has after these events."""
    return [each["content"] for each in apply_events([], events) if each["role"] == "activity"]


def test_page_grows_as_its_arguments_arrive() -> None:
    sent = feed(
        *call(
            '{"initialHeight": 300, "css": "p{',
            '}", "html": "<p>a',
            'b</p>", "jsExpressions": ["f()"',
            ', "g()"]}',
        )
    )
    assert brief(sent) == [
        {"initialHeight": 300, "generating": True},
        "START",
        "ARGS",
        "ARGS",
        ("/css", "p{}"),
        ("/cssComplete", True),
        ("/html", []),
        ("/html/-", "<p>a"),
        "ARGS",
        ("/html/-", "b</p>"),
        ("/htmlComplete", True),
        ("/jsExpressions", []),
        ("/jsExpressions/-", "f()"),
        "ARGS",
        ("/jsExpressions/-", "g()"),
        ("/jsExpressionsComplete", True),
        ("/generating", False),
        "END",
    ]
    assert {event["messageId"] for event in sent if "messageId" in event} == {"c1-activity"}


@pytest.mark.parametrize("size", [1, 3, 13, 10_000])
def test_page_is_complete_however_its_arguments_are_cut(size: int) -> None:
    text = json.dumps(PAGE)
    [content] = activities(feed(*call(*(text[at : at + size] for at in range(0, len(text), size)))))
    assert "".join(content.pop("html")) == PAGE["html"]
    assert content == {
        **{name: value for name, value in PAGE.items() if name != "html"},
        "generating": False,
        **{f"{name}Complete": True for name in ("css", "html", "jsFunctions", "jsExpressions")},
    }


@pytest.mark.parametrize("parts", [(), ("{}",), ('{"html" "x"}',), ("nonsense",), ('{"other": {"html": "x"}}',)])
def test_call_without_a_page_is_sent_as_it_is(parts: tuple[str, ...]) -> None:
    assert feed(*call(*parts)) == call(*parts)


def test_members_of_the_wrong_type_are_left_out() -> None:
    arguments = {"css": None, "html": 5, "initialHeight": "9", "jsExpressions": "e", "jsFunctions": ["q"], "x": "y"}
    assert feed(*call(json.dumps(arguments))) == call(json.dumps(arguments))
    arguments["jsExpressions"] = ["e", 5, {"html": "x"}, None]
    assert activities(feed(*call(json.dumps(arguments)))) == [
        {"generating": False, "jsExpressions": ["e"], "jsExpressionsComplete": True}
    ]


@pytest.mark.parametrize("ending", [{"type": "RUN_ERROR", "message": "no"}, {"type": "RUN_FINISHED"}, None])
def test_page_of_a_call_that_breaks_off_is_not_shown_as_being_generated(ending: Event | None) -> None:
    sent = feed(*call('{"html": "<p>a')[:-1], *([ending] if ending else []))
    assert activities(sent) == [{"generating": False, "html": ["<p>a"]}]
    assert ending is None or sent[-1] == ending


def test_calls_at_the_same_time_have_a_page_each() -> None:
    one, other = call('{"html": "a"}'), call('{"html": "b"}', call_id="c2")
    plain = call('{"html": "c"}', name="search", call_id="c3")
    sent = feed(*(event for events in zip(one, other, plain, strict=True) for event in events))
    assert [content["html"] for content in activities(sent)] == [["a"], ["b"]]
    for call_id, events in (("c1", one), ("c2", other), ("c3", plain)):
        assert [event for event in sent if event.get("toolCallId") == call_id] == events


def test_call_that_starts_twice_is_left_for_the_engine_to_refuse() -> None:
    start, *rest = call('{"html": "a"}')
    assert feed(start, start, *rest) == [start, start, *rest]


@pytest.mark.parametrize("ending", ['"}', ""])
def test_large_page_grows_by_larger_parts(ending: str) -> None:
    """Clients copy a page for each of its parts: four times as many would take sixteen times as long to apply."""

    def parts(size: int) -> list[str]:
        [content] = activities(feed(*call('{"html": "', *"x" * size, *ending)))
        assert "".join(content["html"]) == "x" * size
        return list(content["html"])

    assert len(parts(64)) == 64
    small, large = parts(1_000), parts(4_000)
    assert large[: len(small) - 1] == small[:-1]
    assert len(large) - len(small) < 100


def test_page_costs_in_proportion_to_its_arguments() -> None:
    def prepare(size: int) -> Callable[[], object]:
        text = json.dumps({"html": "<p>\\\n😀</p>" * size, "jsExpressions": ["f()"] * size})
        return lambda: feed(*call(*text))

    assert_linear(prepare, 30)
