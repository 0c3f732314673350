"""Makes the JSON Schemas of tools acceptable to makers of models, which refuse a whole request for one of them.

Tools of frontends and of MCP servers have any schema; each maker accepts a part of JSON Schema of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote

from .google_schemas import JSONSchema, reduce_for_google, remove_undefined_required
from .schema_values import VALUE_READERS, is_pattern, required_names

_DEFINITIONS = ("$defs", "definitions")
_OMITTED = frozenset(
    (
        *("$schema", "$id", "$anchor", "$comment", "$dynamicRef", "$dynamicAnchor", "$vocabulary", *_DEFINITIONS),
        "dependencies",
    )
)
_NULLABLE = ("default", "const")
"""The keywords whose value may be null."""
_SCHEMAS = ("items", "not", "if", "then", "else", "contains", "propertyNames", "contentSchema")
"""The keywords whose value is a schema."""
_SCHEMAS_OR_BOOLS = ("additionalProperties", "unevaluatedProperties", "unevaluatedItems")
_SCHEMA_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_SCHEMA_MAPS = ("properties", "dependentSchemas")
_EXCLUSIVE = {"exclusiveMinimum": "minimum", "exclusiveMaximum": "maximum"}
_MERGED = ("allOf", "anyOf", "oneOf")
_NOT_AT_TOP = frozenset((*_MERGED, "not", "if", "then", "else", "enum", "const", "$ref"))

_MAX_DEPTH = 32
_MAX_NODES = 20_000
"""How many schemas that of a tool may consist of, with its references replaced."""
_MAX_PATTERNS = 100
_MAX_PATTERN_CHARACTERS = 1000
"""To compile a pattern costs much more than to read it."""


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
        self._patterns = 0
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
        if self._for_google:
            remove_undefined_required(cleaned)
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
            common = set.intersection(*(set(required_names(branch)) for branch in branches)) if branches else set()
            for branch in branches:
                required = (
                    required_names(branch)
                    if keyword == "allOf"
                    else [each for each in required_names(branch) if each in common]
                )
                parts.append(({**branch, "required": required}, keyword == "allOf"))
        properties = {name: [value] for name, value in _mapping(merged.get("properties")).items()}
        all_required = dict.fromkeys(required_names(merged))
        for part, is_certain in parts:
            for name, value in _mapping(part.get("properties")).items():
                known = properties.setdefault(name, [])
                if not known or (not is_certain and known[-1] != value):
                    known.append(value)
            all_required.update(dict.fromkeys(required_names(part)))
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
            if name in _OMITTED:
                continue
            if (read := VALUE_READERS.get(name)) is not None:
                kept = read(value)
            else:
                clean = _CLEANERS.get(name)
                kept = value if clean is None else clean(self, value, depth)
            if kept is not None or name in _NULLABLE:
                cleaned[name] = kept
        for name, limit in _EXCLUSIVE.items():
            if node.get(name) is True and limit in cleaned:  # JSON Schema before 2016
                cleaned[name] = cleaned.pop(limit)
        if isinstance(node.get("items"), list):  # JSON Schema before 2020
            cleaned["items"] = self._clean({"anyOf": node["items"]}, depth + 1)
        elif cleaned.get("type") == "array":
            cleaned.setdefault("items", {})
        if "required" in node or (self._property_name is not None and "properties" in cleaned):
            self._clean_required(cleaned)
        return reduce_for_google(cleaned) if self._for_google else cleaned

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

    def _clean_pattern(self, value: Any, depth: int) -> str | None:
        """Returns a pattern in the language that makers check it in, which is Python's at OpenAI."""
        if not isinstance(value, str) or len(value) > _MAX_PATTERN_CHARACTERS:
            return None
        self._patterns += 1
        return value if self._patterns <= _MAX_PATTERNS and is_pattern(value) else None

    def _clean_patterns(self, value: Any, depth: int) -> dict[str, JSONSchema] | None:
        cleaned = self._clean_map(value, depth)
        return cleaned and {
            name: each for name, each in cleaned.items() if self._clean_pattern(name, depth) is not None
        }

    def _clean_required(self, cleaned: JSONSchema) -> None:
        properties = cleaned.get("properties")
        required = [name for name in required_names(cleaned) if properties is None or name in properties]
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
    "pattern": _Cleaner._clean_pattern,
    "patternProperties": _Cleaner._clean_patterns,
    **dict.fromkeys(_SCHEMAS_OR_BOOLS, _Cleaner._clean_additional),
    **dict.fromkeys(_SCHEMAS, _Cleaner._clean_schema),
    **dict.fromkeys(_SCHEMA_LISTS, _Cleaner._clean_list),
    **dict.fromkeys(_SCHEMA_MAPS, _Cleaner._clean_map),
}
"""By keyword, what returns its value as makers accept it, or None to leave it out. See also `VALUE_READERS`."""


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
