"""The engine: runs, their logs, and their readers."""

from .engine import Engine, StopResult
from .run_limits import TooManyRuns, TooManyRunsOfUser
from .subscribers import TooManyStreams
from .types import EndedRun, EngineOptions, RunEndHook, RunRequest

__all__ = [
    "EndedRun",
    "Engine",
    "EngineOptions",
    "RunEndHook",
    "RunRequest",
    "StopResult",
    "TooManyRuns",
    "TooManyRunsOfUser",
    "TooManyStreams",
]
