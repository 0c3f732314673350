"""Tools as makers of models accept them: their names and their schemas."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from copilot_runtime.agents._builtin.maker_rules import MakerRules, rules_for
from copilot_runtime.agents._builtin.providers import Model
from copilot_runtime.agents._builtin.tool_schemas import UnusableSchema, acceptable_schema
from copilot_runtime.agents._builtin.wire_tools import WireTools
from copilot_runtime.agents._tools.toolbox import ToolDefinition

from .cost_helpers import assert_linear

OPENAI, ANTHROPIC, GOOGLE, MISTRAL, OTHER = (
    rules_for(Model.parse(name, allow_unknown_provider=True))
    for name in ("openai/gpt-x", "anthropic/claude-x", "google/gemini-x", "mistral-large-latest", "llama3")
)
EMPTY = {"type": "object", "properties": {}}
A = {"type": "string"}
RECURSIVE = {
    "type": "object",
    "properties": {"node": {"$ref": "#/$defs/Node"}},
    "$defs": {"Node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}, "name": A}}},
}

SCHEMAS: dict[str, tuple[Any, dict[str, Any]]] = {
    "null": (None, EMPTY),
    "true": (True, EMPTY),
    "empty": ({}, EMPTY),
    "no properties": ({"type": "object"}, EMPTY),
    "properties null": ({"type": "object", "properties": None, "required": None}, EMPTY),
    "another type": ({"type": "string"}, EMPTY),
    "a list of types": ({"type": ["object", "null"], "properties": {"a": A}}, {**EMPTY, "properties": {"a": A}}),
    "plain": (
        {"$schema": "x", "type": "object", "properties": {"a": A}, "required": ["a"], "additionalProperties": False},
        {"type": "object", "properties": {"a": A}, "required": ["a"], "additionalProperties": False},
    ),
    "required of what there is": (
        {"type": "object", "properties": {"a": A}, "required": ["a", "b", 1]},
        {"type": "object", "properties": {"a": A}, "required": ["a"]},
    ),
    "anyOf at the top": (
        {
            "anyOf": [
                {"properties": {"a": A}, "required": ["a"]},
                {"properties": {"a": A, "b": A}, "required": ["a", "b"]},
            ]
        },
        {"type": "object", "properties": {"a": A, "b": A}, "required": ["a"]},
    ),
    "oneOf at the top, of different types": (
        {"type": "object", "oneOf": [{"properties": {"a": A}}, {"properties": {"a": {"type": "number"}}}]},
        {**EMPTY, "properties": {"a": {"anyOf": [A, {"type": "number"}]}}},
    ),
    "allOf at the top": (
        {"allOf": [{"properties": {"a": A}, "required": ["a"]}, {"properties": {"b": A}, "required": ["b"]}]},
        {"type": "object", "properties": {"a": A, "b": A}, "required": ["a", "b"]},
    ),
    "a reference at the top": (
        {"$ref": "#/definitions/Args", "definitions": {"Args": {"type": "object", "properties": {"a": A}}}},
        {**EMPTY, "properties": {"a": A}},
    ),
    "a reference to itself at the top": ({"$ref": "#"}, EMPTY),
    "references": (
        {"properties": {"a": {"$ref": "#/definitions/A"}}, "definitions": {"A": A, "unused": A}},
        {**EMPTY, "properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": A}},
    ),
    "references to nowhere": (
        {"properties": {"a": {"$ref": "#/$defs/B", "description": "d"}, "b": {"$ref": "https://a.example/schema"}}},
        {**EMPTY, "properties": {"a": {"description": "d"}, "b": {}}},
    ),
    "recursive": (RECURSIVE, RECURSIVE),
    "odd types": (
        {"properties": {"a": {"type": "str"}, "b": {"type": ["null", "Integer"]}, "c": {"type": "file"}, "d": True}},
        {**EMPTY, "properties": {"a": A, "b": {"type": ["null", "integer"]}, "c": {}, "d": {}}},
    ),
    "arrays": (
        {"properties": {"a": {"type": "array"}, "b": {"type": "array", "items": [A, {"type": "number"}]}}},
        {
            **EMPTY,
            "properties": {
                "a": {"type": "array", "items": {}},
                "b": {"type": "array", "items": {"anyOf": [A, {"type": "number"}]}},
            },
        },
    ),
    "members of other types": (
        {
            "properties": {
                "a": {"type": "string", "description": 1, "enum": [], "anyOf": [], "required": True, "items": 1}
            }
        },
        {**EMPTY, "properties": {"a": A}},
    ),
}


@pytest.mark.parametrize("case", SCHEMAS)
def test_tool_schema_is_made_acceptable(case: str) -> None:
    schema, expected = SCHEMAS[case]
    before = json.dumps(schema)
    assert acceptable_schema(schema) == expected
    assert acceptable_schema(expected) == expected
    assert json.dumps(schema) == before


GOOGLE_SCHEMAS: dict[str, tuple[Any, dict[str, Any]]] = {
    "additionalProperties": ({"properties": {"a": A}, "additionalProperties": False}, {"a": A}),
    "a list of types": (
        {"properties": {"a": {"type": ["string", "null"], "enum": ["x", None], "description": "d"}}},
        {"a": {"description": "d", "anyOf": [{"type": "string", "enum": ["x"]}, {"type": "null"}]}},
    ),
    "const": ({"properties": {"a": {"const": "x"}}}, {"a": {"type": "string", "enum": ["x"]}}),
    "numbers in enum": (
        {"properties": {"a": {"type": "integer", "enum": [1, 2]}}},
        {"a": {"type": "integer", "description": "One of: 1, 2."}},
    ),
    "formats": (
        {"properties": {"a": {"type": "string", "format": "uri"}, "b": {"type": "string", "format": "date-time"}}},
        {"a": A, "b": {"type": "string", "format": "date-time"}},
    ),
    "oneOf": ({"properties": {"a": {"oneOf": [A, {"type": "null"}]}}}, {"a": {"anyOf": [A, {"type": "null"}]}}),
    "allOf": (
        {"properties": {"a": {"allOf": [{"type": "object", "properties": {"b": A}}, {"required": ["b"]}]}}},
        {"a": {"type": "object", "properties": {"b": A}, "required": ["b"]}},
    ),
    "keywords": (
        {
            "properties": {
                "a": {"type": "number", "exclusiveMinimum": 0, "multipleOf": 2, "examples": [1], "default": 1}
            }
        },
        {"a": {"type": "number"}},
    ),
    "recursion": (RECURSIVE, {"node": {"type": "object", "properties": {"next": {"type": "object"}, "name": A}}}),
}


@pytest.mark.parametrize("case", GOOGLE_SCHEMAS)
def test_tool_schema_is_made_acceptable_to_google(case: str) -> None:
    schema, expected = GOOGLE_SCHEMAS[case]
    assert acceptable_schema(schema, for_google=True)["properties"] == expected


def nested(depth: int) -> Any:
    schema: Any = A
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


def doubling(levels: int) -> Any:
    """A small schema that is huge once its references have been replaced."""
    definitions = {
        f"D{level}": {"properties": {name: {"$ref": f"#/$defs/D{level + 1}"} for name in "ab"}}
        for level in range(levels)
    }
    return {"properties": {"a": {"$ref": "#/$defs/D0"}}, "$defs": {**definitions, f"D{levels}": A}}


def test_tool_that_cannot_be_made_acceptable_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    schemas = {
        "deep": nested(200),
        "huge": doubling(14),
        "good": {},
        "named": {"properties": {"ä b": A}, "required": ["ä b"]},
    }
    tools = [ToolDefinition(name, "", schema) for name, schema in schemas.items()]
    assert [tool.name for tool in WireTools(tools, GOOGLE).definitions] == ["good", "named"]
    assert [tool.name for tool in WireTools(tools, ANTHROPIC).definitions] == ["huge", "good"]
    assert "the tool deep is left out: its schema is nested too deeply" in caplog.text
    assert "the tool huge is left out: its schema is too large" in caplog.text
    assert "the tool named is left out" in caplog.text


def test_tool_schema_nested_deeply_is_refused_and_not_followed() -> None:
    for schema in (nested(100_000), {"anyOf": [nested(3)] * 30_000}):
        with pytest.raises(UnusableSchema):
            acceptable_schema(schema)


LARGE = {
    "properties": lambda n: {"properties": {f"p{i}": A for i in range(n)}, "required": [f"p{i}" for i in range(n)]},
    "alternatives": lambda n: {"anyOf": [{"properties": {"a": {"const": i}, f"p{i}": A}} for i in range(n)]},
    "definitions": lambda n: {
        "properties": {"a": {"$ref": "#/$defs/D0"}},
        "$defs": {f"D{i}": {"properties": {"a": {"$ref": f"#/$defs/D{i + 1}"}}} for i in range(n)},
    },
    "enum": lambda n: {"properties": {"a": {"enum": [None, *map(str, range(n))], "type": ["string", "null"]}}},
}


@pytest.mark.parametrize("for_google", [False, True])
def test_tool_schema_definitions_are_found_and_kept_apart(for_google: bool) -> None:
    schema = {
        "properties": {
            "a": {"$ref": "#/$defs/List<A>"},
            "b": {"$ref": "#/$defs/List«A»"},
            "c": {"$ref": "#/$defs/List%5BA%5D"},
            "d": {"$ref": "#anchor"},
            "e": {"$ref": "#/$defs/List<A>"},
        },
        "$defs": {"List<A>": A, "List«A»": {"type": "integer"}, "List[A]": {"type": "number"}},
    }
    cleaned = acceptable_schema(schema, for_google=for_google)
    found = {
        name: cleaned["$defs"][each["$ref"].removeprefix("#/$defs/")] if "$ref" in each else each
        for name, each in cleaned["properties"].items()
    }
    assert found == {"a": A, "b": {"type": "integer"}, "c": {"type": "number"}, "d": {}, "e": A}


@pytest.mark.parametrize("for_google", [False, True])
@pytest.mark.parametrize("kind", LARGE)
def test_tool_schema_costs_are_proportional_to_its_size(kind: str, for_google: bool) -> None:
    def prepare(size: int) -> Callable[[], object]:
        schema = LARGE[kind](size)
        return lambda: acceptable_schema(schema, for_google=for_google)

    assert_linear(prepare, 3 if for_google and kind == "definitions" else 100)


NAMES = ["docs.read", "docs/read", "docs_read", "1st", "ä", "x" * 80, "x" * 81, "", "fine-1"]


@pytest.mark.parametrize("rules", [OPENAI, ANTHROPIC, GOOGLE, MISTRAL, OTHER])
def test_tool_names_are_made_acceptable_and_mapped_back(rules: MakerRules) -> None:
    tools = WireTools([ToolDefinition(name, "", EMPTY) for name in NAMES], rules)
    wire = [tool.name for tool in tools.definitions]
    assert len(set(wire)) == len(NAMES)
    assert all(re.fullmatch("[A-Za-z_][A-Za-z0-9_-]{0,63}", name) for name in wire)
    assert [tools.names[name] for name in wire] == NAMES
    assert [tools.wire_name(name) for name in NAMES] == wire
    assert wire[2] == "docs_read"
    assert wire[8] == "fine-1"
    choice = {"type": "function", "function": {"name": "docs.read"}}
    assert tools.wire_choice(choice) == {"type": "function", "function": {"name": wire[0]}}


@pytest.mark.parametrize(("rules", "count"), [(OPENAI, 128), (ANTHROPIC, 600), (GOOGLE, 512), (OTHER, 600)])
def test_tools_beyond_what_a_maker_accepts_are_left_out(
    rules: MakerRules, count: int, caplog: pytest.LogCaptureFixture
) -> None:
    tools = WireTools([ToolDefinition(f"tool{number}", "x" * 2000, EMPTY) for number in range(600)], rules)
    assert len(tools.definitions) == count
    assert ("are left out" in caplog.text) == (count < 600)
    assert len(tools.definitions[0].description) == (1024 if rules is OPENAI else 2000)


def test_tool_that_is_chosen_is_not_left_out_of_too_many() -> None:
    names = [f"tool/{number}" for number in range(200)]
    choice = {"type": "function", "function": {"name": "tool/190"}}
    tools = WireTools([ToolDefinition(name, "", EMPTY) for name in names], OPENAI, choice)
    offered = [tools.names[tool.name] for tool in tools.definitions]
    assert offered == [*names[:127], "tool/190"]
    assert tools.wire_choice(choice) == {"type": "function", "function": {"name": tools.definitions[-1].name}}


def test_tool_choice_of_a_tool_that_is_left_out_is_not_sent(caplog: pytest.LogCaptureFixture) -> None:
    deep: Any = {}
    for _ in range(100):
        deep = {"type": "array", "items": deep}
    bad = ToolDefinition("bad", "", {"type": "object", "properties": {"a": deep}})
    tools = WireTools([bad, ToolDefinition("good", "", EMPTY)], OPENAI)
    assert [tool.name for tool in tools.definitions] == ["good"]
    assert tools.wire_choice({"type": "function", "function": {"name": "bad"}}) is None
    assert "the choice of the tool bad is not sent" in caplog.text
