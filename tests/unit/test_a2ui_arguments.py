"""Arguments of a tool call while they stream."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from copilot_runtime.middleware._a2ui.json_values import parse
from copilot_runtime.middleware._a2ui.streamed_arguments import StreamedArguments

TEXTS = st.text(st.sampled_from('ab"\\[]{},:\n é\U0001f600'), max_size=6)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 99) | TEXTS,
    lambda values: st.lists(values, max_size=4) | st.dictionaries(TEXTS, values, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(TEXTS, VALUES, max_size=4)
DOCUMENTS = st.builds(
    lambda surface, components, items, data, others: {
        "surfaceId": surface,
        **others,
        "components": components,
        "data": {**data, "items": items},
    },
    TEXTS,
    st.lists(OBJECTS, max_size=4),
    st.lists(OBJECTS, min_size=1, max_size=4),
    OBJECTS,
    st.dictionaries(st.sampled_from(["x", 'y"', "z\\"]), VALUES, max_size=3),
)


def fed(*parts: str) -> StreamedArguments:
    arguments = StreamedArguments()
    for part in parts:
        arguments.feed(part)
    return arguments


@st.composite
def documents_in_parts(draw: Any) -> tuple[dict[str, Any], list[str]]:
    document = draw(DOCUMENTS)
    text = json.dumps(document, ensure_ascii=draw(st.booleans()), indent=draw(st.none() | st.just(1)))
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=12)))
    return document, [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]


@given(documents_in_parts())
def test_values_are_the_same_however_the_arguments_are_cut(case: tuple[dict[str, Any], list[str]]) -> None:
    document, parts = case
    arguments = fed(*parts)
    for name in ("surfaceId", "components", "data"):
        assert arguments.is_whole(name)
        assert arguments.value(name) == document[name]
    assert arguments.items("data", "items") == document["data"]["items"]
    assert arguments.count("data", "items") == len(document["data"]["items"])


@settings(max_examples=30)
@given(documents_in_parts())
def test_values_are_whole_exactly_when_their_last_character_has_come(
    case: tuple[dict[str, Any], list[str]],
) -> None:
    document, parts = case
    text = "".join(parts)
    arguments = StreamedArguments()
    seen = 0
    for character in text:
        arguments.feed(character)
        items = arguments.items("data", "items")
        assert items == document["data"]["items"][: len(items)]
        assert len(items) >= seen
        seen = len(items)
        if not arguments.is_whole("components"):
            assert arguments.value("components") is None
    assert seen == len(document["data"]["items"])


def test_escape_may_be_cut_in_two_by_an_empty_part() -> None:
    assert fed('{"a": "x\\', "", '"y"}').value("a") == 'x"y'


def test_news_are_reported_once() -> None:
    arguments = StreamedArguments()
    parts = ('{"a": "x', "\\", '"y"', ',"data":{"items":[1', ",{}", "]", "}", "}")
    assert [arguments.feed(part) for part in parts] == [False, False, True, False, True, True, True, False]
    assert arguments.value("a") == 'x"y'


@pytest.mark.parametrize(
    "text",
    ["", "null", "[1]", '"x"', "}{", '{"components":]', '{"components":[}', '{"components":[1}', "]", '{"components"'],
)
def test_what_is_no_object_has_no_values(text: str) -> None:
    arguments = fed(*text)
    assert not arguments.is_whole("components")
    assert arguments.value("components") is None
    assert arguments.items("components") == []


def test_what_follows_the_arguments_is_ignored() -> None:
    assert fed('{"a": 1, "b": "x"}', '{"b": "y"}').value("b") == "x"


def test_first_of_two_members_of_a_name_counts() -> None:
    assert fed('{"b": "x", "b": "y"}').value("b") == "x"


HALF_OF_A_CHARACTER = r'"\ud83d"'


@pytest.mark.parametrize("depth", [195, 600, 900, 5000])
@pytest.mark.parametrize("inside", ["", HALF_OF_A_CHARACTER])
def test_values_that_are_nested_too_deeply_for_an_event_are_not_parsed(depth: int, inside: str) -> None:
    assert parse("[" * depth + inside + "]" * depth) is None


@pytest.mark.parametrize("text", ["[NaN]", "[1e999]", '["\\x"]', "[1],[2]", "[1"])
def test_values_that_no_event_can_have_are_not_parsed(text: str) -> None:
    assert parse(text) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [('["\ud83d\ude00"]', ["\U0001f600"]), ('["\\ud83d"]', ["\ufffd"]), ('["\ude00"]', ["\ufffd"])],
)
def test_halves_of_characters_are_joined(text: str, value: list[str]) -> None:
    assert parse(text) == value
