"""The instruments of a runtime."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, Meter, Observation

_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0)
_STORE_SECONDS = (0.0001, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_TOKENS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864)


class Metrics:
    """Instruments by what they measure.

    Args:
        meter: creates them.
        count_runs: returns how many runs are active in this process.
        count_streams: returns how many streams are open.
    """

    def __init__(self, meter: Meter, count_runs: Callable[[], int], count_streams: Callable[[], int]) -> None:
        self.runs = meter.create_counter("copilot_runtime.runs", "{run}", "Runs that have ended, by outcome")
        meter.create_observable_up_down_counter(
            "copilot_runtime.runs.active", [_observe(count_runs)], "{run}", "Active runs"
        )
        meter.create_observable_up_down_counter(
            "copilot_runtime.streams.open", [_observe(count_streams)], "{stream}", "Open streams"
        )
        self.first_event = meter.create_histogram(
            "copilot_runtime.run.time_to_first_event",
            "s",
            "From the begin of a run to its first event after RUN_STARTED",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self.run_duration = meter.create_histogram(
            "copilot_runtime.run.duration",
            "s",
            "From the begin to the end of a run",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self.events = meter.create_counter("copilot_runtime.events", "{event}", "Events of runs that have ended")
        self.tokens = meter.create_counter("copilot_runtime.tokens", "{token}", "Tokens that runs report when they end")
        self.store_duration = meter.create_histogram(
            "copilot_runtime.store.duration",
            "s",
            "Calls of the store, with their wait for a thread",
            explicit_bucket_boundaries_advisory=_STORE_SECONDS,
        )
        self.leases_lost = meter.create_counter(
            "copilot_runtime.leases.lost", "{lease}", "Runs that another process has ended or taken over"
        )
        self.model_duration = meter.create_histogram(
            "gen_ai.client.operation.duration",
            "s",
            "Calls of models",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self.model_tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            "{token}",
            "Tokens of calls of models",
            explicit_bucket_boundaries_advisory=_TOKENS,
        )


def _observe(count: Callable[[], int]) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def observe(options: CallbackOptions) -> Iterable[Observation]:
        from opentelemetry.metrics import Observation

        yield Observation(count())

    return observe
