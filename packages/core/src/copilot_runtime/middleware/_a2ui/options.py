"""The options of A2UI."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from pydantic_core import PydanticSerializationError, from_json, to_json

from ... import _validation as validation

DebugExposure = Literal["hidden", "collapsed", "verbose"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class A2UIRecovery:
    """What a frontend shows while a surface is generated, and when one was not valid.

    Args:
        debug_exposure: whether it shows validation errors: not at all, folded, or open. None leaves that to the
            frontend.
        show_progress_tokens: whether it shows about how many tokens a surface has so far.
        max_attempts: how many attempts it says that there are at most. Whether there are several is up to the agent:
            set this to what the agent does.

    Raises:
        ValueError: an option has a value that cannot work.
        TypeError: an option has a value of the wrong type.
    """

    debug_exposure: DebugExposure | None = None
    show_progress_tokens: bool = True
    max_attempts: int = 3

    def __post_init__(self) -> None:
        if self.debug_exposure is not None:
            validation.check_choice("A2UIRecovery: debug_exposure", self.debug_exposure, get_args(DebugExposure))
        validation.check_bool("A2UIRecovery: show_progress_tokens", self.show_progress_tokens)
        validation.check_number("A2UIRecovery: max_attempts", self.max_attempts, minimum=1, integer=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class A2UI:
    """A2UI surfaces: interfaces that an agent describes, and that the frontend draws with its catalog of components.

    Requires the extra ``a2ui``.

    Args:
        enabled: False for no A2UI at all, also where a frontend has a catalog.
        agents: the ids of the agents that have A2UI; None for all.
        schema: the frontend's catalog, which agents receive as context, and by which surfaces are validated:
            ``{"catalogId": ..., "components": {name: JSON Schema}}``, or a list of
            ``{"name": ..., "description": ..., "props": ...}``, which is not used for validation. None for what the
            frontend sends.
        inject_tool: whether agents get the tool that renders a surface; or the name under which they get it. None for
            runs of frontends that have a catalog.
        tool_names: the tools whose arguments are a surface.
        default_catalog_id: the catalog of surfaces that such a tool renders. None for the frontend's, or else A2UI's
            basic catalog.
        recovery: what a frontend shows while a surface is generated, and when one was not valid.

    Raises:
        ImportError: ag-ui-a2ui-toolkit is not installed.
        ValueError: an option has a value that cannot work.
        TypeError: an option has a value of the wrong type.
    """

    enabled: bool = True
    agents: Sequence[str] | None = None
    schema: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None
    inject_tool: bool | str | None = None
    tool_names: Sequence[str] = ("render_a2ui",)
    default_catalog_id: str | None = None
    recovery: A2UIRecovery = A2UIRecovery()
    schema_json: str | None = dataclasses.field(init=False, repr=False, compare=False)
    """The schema as agents receive it; None if there are no components."""
    catalog: dict[str, Any] | None = dataclasses.field(init=False, repr=False, compare=False)
    """The schema as components are validated by it."""

    def __post_init__(self) -> None:
        validation.check_bool("A2UI: enabled", self.enabled)
        if self.agents is not None:
            object.__setattr__(self, "agents", validation.check_names("A2UI: agents", self.agents))
        object.__setattr__(self, "tool_names", validation.check_names("A2UI: tool_names", self.tool_names))
        if not isinstance(self.inject_tool, bool | str | None) or self.inject_tool == "":
            raise TypeError(f"A2UI: inject_tool={self.inject_tool!r}: must be True, False, None or the tool's name")
        if not isinstance(self.default_catalog_id, str | None) or self.default_catalog_id == "":
            raise TypeError(f"A2UI: default_catalog_id={self.default_catalog_id!r}: must be the id of a catalog")
        if not isinstance(self.recovery, A2UIRecovery):
            raise TypeError(
                f"A2UI: recovery={self.recovery!r}: must be an A2UIRecovery, such as A2UIRecovery(max_attempts=2)"
            )
        schema_json = _encode_schema(self.schema)
        object.__setattr__(self, "schema_json", schema_json)
        catalog = from_json(schema_json) if schema_json is not None else None
        object.__setattr__(self, "catalog", catalog if isinstance(catalog, dict) else None)
        if self.enabled:
            from .toolkit import toolkit

            toolkit()

    def applies_to(self, agent_id: str) -> bool:
        """Returns whether an agent has A2UI, if its run needs it."""
        return self.enabled and (self.agents is None or agent_id in self.agents)


def _encode_schema(schema: object) -> str | None:
    """Returns the JSON of a schema, and None if it has no components. Raises TypeError for what is none."""
    if schema is None:
        return None
    if _is_schema(schema):
        if not (schema["components"] if isinstance(schema, Mapping) else schema):
            return None
        with contextlib.suppress(PydanticSerializationError):
            return to_json(schema).decode()
    raise TypeError(
        f"A2UI: schema={type(schema).__name__}: must be a catalog in JSON, such as "
        '{"catalogId": "https://example.com/catalog.json", "components": {"Text": {"type": "object"}}}'
    )


def _is_schema(schema: object) -> bool:
    if isinstance(schema, Mapping):
        components = schema.get("components")
        are_objects = isinstance(components, Mapping) and all(isinstance(each, Mapping) for each in components.values())
        return isinstance(schema.get("catalogId"), str) and are_objects
    if not isinstance(schema, Sequence) or isinstance(schema, str | bytes):
        return False
    return all(isinstance(each, Mapping) and "name" in each for each in schema)
