"""Makes the JSON Schemas of tools acceptable to makers of models, which refuse a whole request for one of them.

Tools of frontends and of MCP servers have any schema; each maker accepts a part of JSON Schema of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote

JSONSchema = dict[str, Any]

_TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")
_OTHER_NAMES = {
    "str": "string",
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "dict": "object",
    "list": "array",
}
_DEFINITIONS = ("$defs", "definitions")
_OMITTED = frozenset(
    ("$schema", "$id", "$anchor", "$comment", "$dynamicRef", "$dynamicAnchor", "$vocabulary", *_DEFINITIONS)
)
_NULLABLE = ("default", "const")
"""The keywords whose value may be null."""
_SCHEMAS = ("items", "not", "if", "then", "else", "contains", "propertyNames")
"""The keywords whose value is a schema."""
_SCHEMA_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_SCHEMA_MAPS = ("properties", "patternProperties", "dependentSchemas")
_MERGED = ("allOf", "anyOf", "oneOf")
_NOT_AT_TOP = frozenset((*_MERGED, "not", "if", "then", "else", "enum", "const", "$ref"))

_GOOGLE_KEYWORDS = frozenset(
    (
        *("type", "title", "description", "enum", "anyOf", "items", "properties", "required", "format", "pattern"),
        *("minItems", "maxItems", "minLength", "maxLength", "minimum", "maximum"),
    )
)
_GOOGLE_FORMATS = frozenset(("enum", "date-time", "float", "double", "int32", "int64"))

_MAX_DEPTH = 32
_MAX_NODES = 20_000
"""How many schemas that of a tool may consist of, with its references replaced."""


class UnusableSchema(ValueError):
    """A schema cannot be made acceptable. The text says why."""


def acceptable_schema(
    schema: Any, *, for_google: bool = False, property_name: re.Pattern[str] | None = None
) -> JSONSchema:
    """Returns the schema of an object that a maker accepts.

    Args:
        schema: the schema of a tool's parameters, which may be anything.
        for_google: whether only the part of JSON Schema that Google has is used, and references are replaced.
        property_name: what names of properties have to match. An optional property of another name is left out.

    Raises UnusableSchema.
    """
    return _Cleaner(schema, for_google, property_name).clean_root()


class _Cleaner:
    def __init__(self, schema: Any, for_google: bool, property_name: re.Pattern[str] | None) -> None:
        self._root: Mapping[str, Any] = schema if isinstance(schema, Mapping) else {}
        self._for_google = for_google
        self._property_name = property_name
        self._nodes = 0
        self._open: set[str] = set()
        """The references that are being replaced."""
        self._definitions: dict[str, JSONSchema] = {}
        """Those that are referred to, by their names."""
        self._names: dict[str, str] = {}
        """Their names, by the references."""
        self._pending: list[tuple[str, Mapping[str, Any]]] = []
        """Those that are still to be cleaned."""

    def clean_root(self) -> JSONSchema:
        root = self._root
        if not _NOT_AT_TOP.isdisjoint(root):
            merged = self._merge(root, 0)
            root = {name: value for name, value in merged.items() if name not in _NOT_AT_TOP}
        cleaned = self._clean(root, 0)
        cleaned["type"] = "object"
        cleaned.setdefault("properties", {})
        while self._pending:
            name, definition = self._pending.pop()
            self._definitions[name] = self._clean(definition, 0)
        if self._definitions:
            cleaned["$defs"] = self._definitions
        return cleaned

    def _merge(self, node: Any, depth: int) -> Mapping[str, Any]:
        """Returns a schema whose references and alternatives are one object, since makers want one at the top."""
        self._count(depth)
        if not isinstance(node, Mapping):
            return {}
        merged = {name: value for name, value in node.items() if name not in _NOT_AT_TOP}
        parts: list[tuple[Mapping[str, Any], bool]] = []
        reference = node.get("$ref")
        if isinstance(reference, str) and reference not in self._open:
            self._open.add(reference)
            parts.append((self._merge(self._resolve(reference), depth + 1), True))
            self._open.discard(reference)
        for keyword in _MERGED:
            alternatives = node.get(keyword)
            branches = [self._merge(each, depth + 1) for each in alternatives] if isinstance(alternatives, list) else []
            branches = [branch for branch in branches if branch.get("type", "object") in ("object", ["object"], None)]
            common = set.intersection(*(set(_required(branch)) for branch in branches)) if branches else set()
            for branch in branches:
                required = (
                    _required(branch) if keyword == "allOf" else [each for each in _required(branch) if each in common]
                )
                parts.append(({**branch, "required": required}, keyword == "allOf"))
        properties = {name: [value] for name, value in _mapping(merged.get("properties")).items()}
        all_required = dict.fromkeys(_required(merged))
        for part, is_certain in parts:
            for name, value in _mapping(part.get("properties")).items():
                known = properties.setdefault(name, [])
                if not known or (not is_certain and known[-1] != value):
                    known.append(value)
            all_required.update(dict.fromkeys(_required(part)))
            for name in ("description", "title", "additionalProperties"):
                if name in part:
                    merged.setdefault(name, part[name])
        if len(parts) > 1 or any(not is_certain for _, is_certain in parts):
            merged.pop("additionalProperties", None)
        if properties or "properties" in merged:
            merged["properties"] = {
                name: values[0] if len(values) == 1 else {"anyOf": values} for name, values in properties.items()
            }
        merged["required"] = list(all_required)
        return merged

    def _clean(self, node: Any, depth: int) -> JSONSchema:
        self._count(depth)
        if not isinstance(node, Mapping):
            return {}  # True, for one
        reference = node.get("$ref")
        if reference is not None:
            return self._clean_reference(reference, node, depth)
        cleaned: JSONSchema = {}
        for name, value in node.items():
            clean = _CLEANERS.get(name)
            kept = value if clean is None else clean(self, value, depth)
            if kept is not None or name in _NULLABLE:
                cleaned[name] = kept
        if isinstance(node.get("items"), list):  # JSON Schema before 2020
            cleaned["items"] = self._clean({"anyOf": node["items"]}, depth + 1)
        elif cleaned.get("type") == "array":
            cleaned.setdefault("items", {})
        if "required" in node or (self._property_name is not None and "properties" in cleaned):
            self._clean_required(cleaned)
        return _for_google(cleaned) if self._for_google else cleaned

    def _clean_schema(self, value: Any, depth: int) -> JSONSchema | None:
        return self._clean(value, depth + 1) if isinstance(value, Mapping) else None

    def _clean_additional(self, value: Any, depth: int) -> JSONSchema | bool | None:
        return value if isinstance(value, bool) else self._clean_schema(value, depth)

    def _clean_list(self, value: Any, depth: int) -> list[JSONSchema] | None:
        return [self._clean(each, depth + 1) for each in value] if isinstance(value, list) and value else None

    def _clean_map(self, value: Any, depth: int) -> dict[str, JSONSchema] | None:
        if not isinstance(value, Mapping):
            return None
        return {str(name): self._clean(each, depth + 1) for name, each in value.items()}

    def _clean_type(self, value: Any, depth: int) -> str | list[str] | None:
        if not isinstance(value, list):
            return _type_name(value)
        known = list(dict.fromkeys(name for name in map(_type_name, value) if name is not None))
        return known if len(known) > 1 else known[0] if known else None

    def _omit(self, value: Any, depth: int) -> None:
        return None

    def _keep_text(self, value: Any, depth: int) -> str | None:
        return value if isinstance(value, str) else None

    def _keep_list(self, value: Any, depth: int) -> list[Any] | None:
        return value if isinstance(value, list) and value else None

    def _clean_required(self, cleaned: JSONSchema) -> None:
        properties = cleaned.get("properties")
        required = [name for name in _required(cleaned) if properties is None or name in properties]
        if self._property_name is not None and properties:
            for name in [name for name in properties if not self._property_name.fullmatch(name)]:
                if name in required:
                    raise UnusableSchema(f"the maker accepts no property with the name {name[:100]!r}")
                del properties[name]
        if required:
            cleaned["required"] = required
        else:
            cleaned.pop("required", None)

    def _clean_reference(self, reference: Any, node: Mapping[str, Any], depth: int) -> JSONSchema:
        others = {name: value for name, value in node.items() if name != "$ref"}
        target = self._resolve(reference) if isinstance(reference, str) else None
        if not isinstance(target, Mapping):
            return self._clean(others, depth + 1)
        if self._for_google:
            if reference in self._open:  # Google has no recursion
                return self._clean({"type": "object", **others}, depth + 1)
            self._open.add(reference)
            try:
                return self._clean({**target, **others}, depth + 1)
            finally:
                self._open.discard(reference)
        name = self._names.get(reference)
        if name is None:
            name = self._names[reference] = self._definition_name(reference)
            self._definitions[name] = {}
            self._pending.append((name, target))
        return {"$ref": f"#/$defs/{name}"}

    def _definition_name(self, reference: str) -> str:
        name = reference.removeprefix("#").removeprefix("/$defs/").removeprefix("/definitions/")
        name = re.sub("[^A-Za-z0-9_.-]", "_", name) or "root"
        return name if name not in self._definitions else f"{name}_{len(self._definitions)}"

    def _resolve(self, reference: str) -> Any:
        """Returns what a reference within the schema refers to (RFC 6901); None for others, and for what is missing."""
        if not re.match("#(/|$)", reference):  # an anchor, or another document
            return None
        value: Any = self._root
        for part in unquote(reference[1:]).split("/")[1:]:
            name = part.replace("~1", "/").replace("~0", "~")
            if isinstance(value, list) and name.isdecimal() and int(name) < len(value):
                value = value[int(name)]
            elif isinstance(value, Mapping) and name in value:
                value = value[name]
            else:
                return None
        return value

    def _count(self, depth: int) -> None:
        self._nodes += 1
        if depth > _MAX_DEPTH:
            raise UnusableSchema("its schema is nested too deeply")
        if self._nodes > _MAX_NODES:
            raise UnusableSchema("its schema is too large")


_CLEANERS: Mapping[str, Callable[[_Cleaner, Any, int], Any]] = {
    "type": _Cleaner._clean_type,
    "additionalProperties": _Cleaner._clean_additional,
    **dict.fromkeys(_SCHEMAS, _Cleaner._clean_schema),
    **dict.fromkeys(_SCHEMA_LISTS, _Cleaner._clean_list),
    **dict.fromkeys(_SCHEMA_MAPS, _Cleaner._clean_map),
    **dict.fromkeys(("description", "title", "format", "pattern"), _Cleaner._keep_text),
    **dict.fromkeys(("enum", "required"), _Cleaner._keep_list),
    **dict.fromkeys(_OMITTED, _Cleaner._omit),
}
"""By keyword, what returns its value as makers accept it, or None to leave it out."""


def _for_google(cleaned: JSONSchema) -> JSONSchema:
    """Returns a schema in the part of JSON Schema that Google has."""
    kinds = cleaned.get("type")
    if isinstance(kinds, list):
        rest = {name: value for name, value in cleaned.items() if name not in ("type", "title", "description")}
        alternatives = [_for_google({"type": kind, **_keywords_of(kind, rest)}) for kind in kinds]
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
    if "enum" in cleaned and not all(isinstance(value, str) for value in cleaned["enum"]):
        values = ", ".join(str(value) for value in cleaned.pop("enum")[:50])
        cleaned["description"] = f"{cleaned.get('description', '')} One of: {values}.".strip()
    if cleaned.get("enum"):
        cleaned.setdefault("type", "string")
    if cleaned.get("format") not in _GOOGLE_FORMATS:
        cleaned.pop("format", None)
    if not cleaned.get("properties", True):
        del cleaned["properties"]
    return {name: value for name, value in cleaned.items() if name in _GOOGLE_KEYWORDS}


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


def _type_name(kind: Any) -> str | None:
    if isinstance(kind, str) and kind in _TYPES:
        return kind
    name = _OTHER_NAMES.get(kind.lower(), kind.lower()) if isinstance(kind, str) else None
    return name if name in _TYPES else None


def _required(schema: Mapping[str, Any]) -> list[str]:
    required = schema.get("required")
    return [name for name in required if isinstance(name, str)] if isinstance(required, list) else []


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
