"""JSON Schemas in the part of JSON Schema that Google has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

JSONSchema = dict[str, Any]

_KEYWORDS = frozenset(
    (
        *("type", "title", "description", "enum", "anyOf", "items", "properties", "required", "format", "pattern"),
        *("minItems", "maxItems", "minLength", "maxLength", "minimum", "maximum"),
    )
)
_FORMATS = frozenset(("enum", "date-time", "float", "double", "int32", "int64"))


def reduce_for_google(cleaned: JSONSchema) -> JSONSchema:
    """Returns a schema in the part of JSON Schema that Google has."""
    kinds = cleaned.get("type")
    if isinstance(kinds, list):
        rest = {name: value for name, value in cleaned.items() if name not in ("type", "title", "description")}
        alternatives = [reduce_for_google({"type": kind, **_keywords_of(kind, rest)}) for kind in kinds]
        for alternative in alternatives:
            remove_undefined_required(alternative)
        texts: JSONSchema = {name: cleaned[name] for name in ("title", "description") if name in cleaned}
        return {**texts, "anyOf": alternatives}
    if "const" in cleaned:
        cleaned.setdefault("enum", [cleaned["const"]])
    for name in ("oneOf", "prefixItems"):
        if name in cleaned:
            target = "anyOf" if name == "oneOf" else "items"
            cleaned.setdefault(target, cleaned[name] if name == "oneOf" else {"anyOf": cleaned[name]})
    for part in cleaned.get("allOf", ()):
        for name, value in part.items():
            if name == "properties":
                cleaned["properties"] = {**value, **cleaned.get("properties", {})}
            elif name == "required":
                cleaned["required"] = list(dict.fromkeys((*cleaned.get("required", ()), *value)))
            else:
                cleaned.setdefault(name, value)
    if "enum" in cleaned:
        cleaned["enum"] = [value for value in cleaned["enum"] if value != ""]  # which Google refuses
    if "enum" in cleaned and not all(isinstance(value, str) for value in cleaned["enum"]):
        values = ", ".join(str(value) for value in cleaned.pop("enum")[:50])
        cleaned["description"] = f"{cleaned.get('description', '')} One of: {values}.".strip()
    if cleaned.get("enum"):
        cleaned.setdefault("type", "string")
    if cleaned.get("format") not in _FORMATS:
        cleaned.pop("format", None)
    if not cleaned.get("properties", True):
        del cleaned["properties"]
    for child in (*cleaned.get("properties", {}).values(), *cleaned.get("anyOf", ()), cleaned.get("items", {})):
        remove_undefined_required(child)
    return {name: value for name, value in cleaned.items() if name in _KEYWORDS}


def remove_undefined_required(schema: JSONSchema) -> None:
    """Removes required properties that a schema does not define: it may have those of a part that is merged into it."""
    properties = schema.get("properties", {})
    if "required" in schema and not properties.keys() >= set(schema["required"]):
        schema["required"] = [name for name in schema["required"] if name in properties]
        if not schema["required"]:
            del schema["required"]


_KEYWORDS_BY_TYPE: Mapping[str, frozenset[str]] = {
    "object": frozenset(("properties", "required", "additionalProperties")),
    "array": frozenset(("items", "prefixItems", "minItems", "maxItems")),
    "string": frozenset(("enum", "const", "format", "pattern", "minLength", "maxLength")),
    "number": frozenset(("enum", "const", "format", "minimum", "maximum")),
    "integer": frozenset(("enum", "const", "format", "minimum", "maximum")),
    "boolean": frozenset(),
    "null": frozenset(),
}


def _keywords_of(kind: str, members: Mapping[str, Any]) -> JSONSchema:
    kept = {name: value for name, value in members.items() if name in _KEYWORDS_BY_TYPE[kind]}
    if kind == "array":
        kept.setdefault("items", {})
    if "enum" in kept:
        kept["enum"] = [value for value in kept["enum"] if value is not None]
    return kept
