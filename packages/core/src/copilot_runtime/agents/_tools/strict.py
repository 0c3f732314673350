"""Schemas of tools whose arguments the maker of the model has to guarantee, and the arguments of such calls.

OpenAI guarantees them only if objects have no further properties, and all properties are required. So what is optional
is required here, and may be null instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]

_UNSUPPORTED = ("patternProperties", "prefixItems", "not", "if", "dependentSchemas", "dependentRequired")
_REFERENCE = "#/$defs/"


def strict_schema(schema: Schema) -> dict[str, Any]:
    """Returns the schema that a maker can guarantee. Raises ValueError if there is none."""
    converted: dict[str, Any] = _convert(schema)
    return converted


def without_unset(arguments: dict[str, Any], schema: Schema) -> dict[str, Any]:
    """Returns arguments for a tool without what is null because it is optional.

    Args:
        arguments: the arguments that the model wrote for the strict schema.
        schema: the tool's own schema.
    """
    stripped: dict[str, Any] = _strip(arguments, schema, schema.get("$defs", {}))
    return stripped


def _convert(schema: Any) -> Any:
    if not isinstance(schema, Mapping):
        if schema is True or schema == {}:
            raise ValueError("it has a value of any type")
        return schema
    for name in _UNSUPPORTED:
        if name in schema:
            raise ValueError(f"it has {name}")
    converted = {name: value for name, value in schema.items() if name != "default"}
    for name in ("anyOf", "oneOf", "allOf"):
        if name in converted:
            options = [_convert(option) for option in converted.pop(name)]
            if name == "allOf" and len(options) != 1:
                raise ValueError("it has allOf")
            converted = {**converted, **(options[0] if name == "allOf" else {"anyOf": options})}
    if "$defs" in converted:
        converted["$defs"] = {name: _convert(value) for name, value in converted["$defs"].items()}
    if "items" in converted:
        converted["items"] = _convert(converted["items"])
    if converted.get("type") == "object" or "properties" in converted:
        return _convert_object(converted)
    if not converted.keys() & {"type", "enum", "const", "anyOf", "$ref"}:
        raise ValueError("it has a value of any type")
    return converted


def _convert_object(schema: dict[str, Any]) -> dict[str, Any]:
    properties, required = schema.get("properties", {}), schema.get("required", ())
    if schema.get("additionalProperties", not properties) not in (False, None) and (
        not properties or isinstance(schema.get("additionalProperties"), Mapping)
    ):
        raise ValueError("it has an object with properties of any name")
    converted = {
        name: _convert(value) if name in required else _nullable(_convert(value)) for name, value in properties.items()
    }
    return {**schema, "properties": converted, "required": list(converted), "additionalProperties": False}


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    if _allows_null(schema):
        return schema
    described = {"description": schema["description"]} if "description" in schema else {}
    return {"anyOf": [{name: value for name, value in schema.items() if name != "description"}, {"type": "null"}]} | (
        described
    )


def _allows_null(schema: Any) -> bool:
    if not isinstance(schema, Mapping):
        return True
    types = schema.get("type", ())
    return "null" in ([types] if isinstance(types, str) else types) or any(map(_allows_null, schema.get("anyOf", ())))


def _strip(value: Any, schema: Any, definitions: Schema) -> Any:
    if isinstance(value, list):
        items = next((each["items"] for each in _branches(schema, definitions) if "items" in each), None)
        return value if items is None else [_strip(item, items, definitions) for item in value]
    if not isinstance(value, dict):
        return value
    branch = next((each for each in _branches(schema, definitions) if "properties" in each), {})
    properties, required = branch.get("properties", {}), branch.get("required", ())
    return {
        name: _strip(member, properties.get(name), definitions)
        for name, member in value.items()
        if member is not None or name in required or name not in properties or _allows_null(properties[name])
    }


def _branches(schema: Any, definitions: Schema) -> Iterator[Schema]:
    """Yields the schemas, one of which a value has."""
    if not isinstance(schema, Mapping):
        return
    reference = schema.get("$ref")
    if isinstance(reference, str):
        yield from _branches(definitions.get(reference.removeprefix(_REFERENCE)), definitions)
        return
    yield schema
    for option in (*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())):
        yield from _branches(option, definitions)
