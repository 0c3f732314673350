"""Schemas of tools in which any keyword has another value: makers refuse all tools of a request for one of them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from copilot_runtime.agents._builtin.schema_values import is_pattern
from copilot_runtime.agents._builtin.tool_schemas import acceptable_schema

from .json_members import paths, with_member

SCHEMA: dict[str, Any] = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "properties": {
        "text": {
            "type": "string",
            "minLength": 1,
            "maxLength": 3,
            "pattern": "^a",
            "format": "email",
            "enum": ["x", ""],
            "examples": ["x"],
            "contentEncoding": "base64",
            "contentMediaType": "image/png",
            "contentSchema": {},
        },
        "number": {
            "type": "integer",
            "minimum": 0,
            "maximum": 9,
            "exclusiveMinimum": 0,
            "exclusiveMaximum": 10,
            "multipleOf": 2,
            "deprecated": True,
            "readOnly": True,
            "writeOnly": False,
        },
        "list": {
            "type": "array",
            "items": {"type": "string"},
            "prefixItems": [{"type": "string"}],
            "minItems": 1,
            "maxItems": 3,
            "uniqueItems": True,
            "contains": {"type": "string"},
            "minContains": 1,
            "maxContains": 2,
            "unevaluatedItems": True,
        },
        "object": {
            "type": ["object", "null"],
            "properties": {"x": {"type": "string"}},
            "required": ["x"],
            "minProperties": 1,
            "maxProperties": 3,
            "patternProperties": {"^a": {"type": "string"}},
            "propertyNames": {"pattern": "a"},
            "dependentRequired": {"x": ["y"]},
            "dependentSchemas": {"x": {"type": "object"}},
            "dependencies": {"x": ["y"]},
            "additionalProperties": False,
            "unevaluatedProperties": False,
        },
        "any": {"anyOf": [{"$ref": "#/$defs/A"}], "oneOf": [{}], "allOf": [{}], "not": {}, "if": {}, "then": {}},
    },
    "required": ["text"],
    "$defs": {"A": {"type": "object", "properties": {"self": {"$ref": "#/$defs/A"}}}},
}
JUNK = [None, -1, 1.5, True, "(", [None], ["x", "x"], {"(": 1}]


def changed(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yields a schema with each of its members replaced by each value."""
    for path in paths(schema):
        for junk in JUNK:
            yield with_member(schema, path, junk)


def changed_properties() -> Iterator[dict[str, Any]]:
    for schema in SCHEMA["properties"].values():
        for property_schema in changed(schema):
            yield {**SCHEMA, "properties": {"a": property_schema}}
    yield from changed({**SCHEMA, "properties": {"a": {}}})


def problems_for_google(schema: dict[str, Any]) -> Iterator[str]:
    properties = schema.get("properties", {})
    if not properties.keys() >= set(schema.get("required", ())):
        yield "required is not defined"
    if "" in schema.get("enum", ()):
        yield "enum is empty"
    items = [schema["items"]] if "items" in schema else []
    for child in (*properties.values(), *schema.get("anyOf", ()), *items):
        yield from problems_for_google(child)


@pytest.mark.parametrize("for_google", [False, True])
def test_tool_schema_with_values_of_any_type_is_json_schema(for_google: bool) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator
    meta = validator(validator.META_SCHEMA, format_checker=validator.FORMAT_CHECKER)
    for given in changed_properties():
        schema = acceptable_schema(given, for_google=for_google)
        problems = [error.message for error in meta.iter_errors(schema)]
        assert problems + list(problems_for_google(schema) if for_google else ()) == [], given


def test_tool_schema_of_draft_4_keeps_its_limits() -> None:
    limits = {"type": "integer", "minimum": 0, "exclusiveMinimum": True, "maximum": 9, "exclusiveMaximum": False}
    schema = acceptable_schema({"properties": {"a": limits}})
    assert schema["properties"]["a"] == {"type": "integer", "exclusiveMinimum": 0, "maximum": 9}


@pytest.mark.parametrize("pattern", ["^\\p{L}+$", "(?<year>\\d{4})", "(", "[^]", "a{2,1}", "x" * 1001])
def test_tool_schema_pattern_that_openai_cannot_read_is_left_out(pattern: str) -> None:
    schema = acceptable_schema({"properties": {"a": {"type": "string", "pattern": pattern}}})
    assert schema["properties"]["a"] == {"type": "string"}


def test_tool_schema_pattern_of_which_python_warns() -> None:
    is_pattern.cache_clear()
    with warnings.catch_warnings(action="error"):
        assert not is_pattern("[[a]")


def test_tool_schema_has_a_limit_of_patterns() -> None:
    properties = {f"p{number}": {"type": "string", "pattern": f"^{number}"} for number in range(150)}
    cleaned = acceptable_schema({"properties": properties})["properties"]
    assert sum("pattern" in each for each in cleaned.values()) == 100
