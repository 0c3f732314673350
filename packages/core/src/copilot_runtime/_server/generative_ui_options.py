"""Validates the options of `CopilotRuntime` for generative user interfaces."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..middleware import A2UI


def validate_a2ui(a2ui: A2UI | None, agents: object) -> A2UI | None:
    """Returns the option. Raises TypeError, and ValueError for an unknown agent."""
    if a2ui is None:
        return None
    if not callable(getattr(a2ui, "applies_to", None)):  # not isinstance, which would import the class
        raise TypeError(f"a2ui={a2ui!r}: must be an A2UI, such as A2UI() or A2UI(agents=['default'])")
    check_agent_ids("A2UI: agents", a2ui.agents, agents)
    return a2ui


def check_agent_ids(option: str, names: Collection[str] | None, agents: Any) -> None:
    """Raises ValueError if an option names an agent that there is not, as far as that is known."""
    unknown = [name for name in names or () if name not in agents] if isinstance(agents, Mapping) else []
    if unknown:
        raise ValueError(f"{option}={names!r}: there is no agent {unknown[0]!r}; there are {', '.join(agents)}")
