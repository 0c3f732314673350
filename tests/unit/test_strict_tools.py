"""Tools whose arguments the maker of the model guarantees."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic import BaseModel

from copilot_runtime.agents import Tool, define_tool
from copilot_runtime.agents._tools.strict import without_unset
from copilot_runtime.agents._tools.toolbox import Toolbox


class Place(BaseModel):
    city: str
    zoom: int = 3


@define_tool(strict=True)
def show(place: Place, others: list[Place] = [], note: str | None = None, limit: int = 5) -> list[Any]:  # noqa: B006
    """Shows places."""
    return [place.city, place.zoom, len(others), note, limit]


def test_strict_schema_requires_everything_and_allows_null_for_what_is_optional() -> None:
    (definition,) = Toolbox([show], [], debug=False).definitions
    assert definition.strict
    schema = definition.parameters
    assert schema["required"] == ["place", "others", "note", "limit"]
    assert schema["additionalProperties"] is schema["$defs"]["Place"]["additionalProperties"] is False
    assert schema["$defs"]["Place"]["required"] == ["city", "zoom"]
    assert schema["properties"]["limit"]["anyOf"][1] == {"type": "null"}
    assert "default" not in str(schema)


def test_strict_arguments_that_are_null_get_their_defaults() -> None:
    arguments = '{"place":{"city":"Rome","zoom":null},"others":[{"city":"Bonn","zoom":null}],"note":null,"limit":null}'
    result = asyncio.run(Toolbox([show], [], debug=False).call(show, arguments, None))
    assert result.for_model == '["Rome",3,1,null,5]'


def test_strict_arguments_keep_null_where_the_tool_requires_it() -> None:
    schema = {"properties": {"a": {"type": ["string", "null"]}, "b": {"type": "string"}}, "required": ["a"]}
    assert without_unset({"a": None, "b": None, "c": None}, schema) == {"a": None, "c": None}


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"type": "object", "additionalProperties": {"type": "string"}}, "any name"),
        ({"type": "object", "properties": {"a": {"type": "object"}}}, "any name"),
        ({"type": "object", "properties": {"a": {}}}, "any type"),
        ({"type": "object", "properties": {"a": {"description": "any"}}}, "any type"),
        ({"type": "object", "properties": {"a": {"allOf": [{"type": "string"}, {"minLength": 1}]}}}, "any type|allOf"),
        ({"type": "object", "properties": {"a": {"not": {"type": "string"}}}}, "not"),
    ],
)
def test_strict_schema_that_no_maker_guarantees_is_refused(parameters: dict[str, Any], says: str) -> None:
    with pytest.raises(
        ValueError, match=f"the tool find cannot be strict, because of its parameters: it has.*({says})"
    ):
        Tool(name="find", description="d", parameters=parameters, call=lambda arguments, context: None, strict=True)


def test_tool_is_not_strict_by_default() -> None:
    tool = define_tool(lambda any: any, name="any")
    assert Toolbox([tool], [], debug=False).definitions[0].strict is False
