"""How many tokens a run took, as ``RUN_FINISHED`` tells it."""

from __future__ import annotations

import dataclasses
from typing import Any

from ag_ui.core import RunErrorEvent, RunFinishedEvent

# Older lines of AG-UI have no such member, so nobody who uses one expects it.
_EVENTS_WITH_USAGE = frozenset(
    name
    for name, model in (("RUN_FINISHED", RunFinishedEvent), ("RUN_ERROR", RunErrorEvent))
    if "usage" in model.model_fields
)

_COUNTS: dict[str, tuple[str, ...]] = {
    "inputTokens": ("prompt_tokens",),
    "outputTokens": ("completion_tokens",),
    "totalTokens": ("total_tokens",),
    "reasoningTokens": ("completion_tokens_details", "reasoning_tokens"),
    "cachedInputTokens": ("prompt_tokens_details", "cached_tokens"),
}
"""AG-UI's name of a count, and where the SDK's usage has it."""


@dataclasses.dataclass(slots=True)
class Usage:
    """The sum over a run's requests, each to the same model."""

    provider: str
    model: str
    counts: dict[str, int] = dataclasses.field(default_factory=dict)

    def add(self, usage: Any) -> None:
        """Counts what the provider told of one request; None where it told nothing."""
        for name, path in _COUNTS.items():
            value = usage
            for step in path:
                value = getattr(value, step, None)
            if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
                self.counts[name] = self.counts.get(name, 0) + value

    def event_fields(self, event_type: str) -> dict[str, Any]:
        """The members of an event that ends the run; none where there is nothing to tell, or no place for it."""
        if not self.counts or event_type not in _EVENTS_WITH_USAGE:
            return {}
        return {"usage": [{"provider": self.provider, "model": self.model, **self.counts}]}
