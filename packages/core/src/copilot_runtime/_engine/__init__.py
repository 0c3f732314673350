"""The engine: runs, their logs, and their readers."""

from .agent_history import history_frames
from .engine import Engine, StopResult
from .run_limits import InputTooLarge, TooManyRuns, TooManyRunsOfUser
from .shutdown import ShuttingDown
from .subscribers import TooManyStreams
from .thread_history import interleave
from .types import EndedRun, EngineOptions, RunEndHook, RunRequest

__all__ = [
    "EndedRun",
    "Engine",
    "EngineOptions",
    "InputTooLarge",
    "RunEndHook",
    "RunRequest",
    "ShuttingDown",
    "StopResult",
    "TooManyRuns",
    "TooManyRunsOfUser",
    "TooManyStreams",
    "history_frames",
    "interleave",
]
