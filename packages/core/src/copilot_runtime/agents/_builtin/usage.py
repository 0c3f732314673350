"""Token usage of a run, as its last event reports it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ag_ui.core import RunErrorEvent, RunFinishedEvent

# Older versions of AG-UI do not have the field.
_EVENTS_WITH_USAGE = frozenset(
    name
    for name, model in (("RUN_FINISHED", RunFinishedEvent), ("RUN_ERROR", RunErrorEvent))
    if "usage" in model.model_fields
)


@dataclasses.dataclass(slots=True)
class Usage:
    """The sum of the usage of a run's requests, which all go to the same model."""

    provider: str
    model: str
    counts: dict[str, int] = dataclasses.field(default_factory=dict)

    def add(self, counts: Mapping[str, int]) -> None:
        """Adds the counts that the provider reported for a request, by AG-UI's names."""
        for name, count in counts.items():
            self.counts[name] = self.counts.get(name, 0) + count

    def event_fields(self, event_type: str) -> dict[str, Any]:
        """Returns the fields to add to an event; empty if there is no usage, or the event does not have the field."""
        if not self.counts or event_type not in _EVENTS_WITH_USAGE:
            return {}
        return {"usage": [{"provider": self.provider, "model": self.model, **self.counts}]}
