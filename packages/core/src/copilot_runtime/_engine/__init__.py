"""The engine: runs, their logs, and their readers."""

from .engine import Engine, StopResult
from .subscribers import TooManyStreams
from .types import EndedRun, EngineOptions, RunEndHook, RunRequest

__all__ = ["EndedRun", "Engine", "EngineOptions", "RunEndHook", "RunRequest", "StopResult", "TooManyStreams"]
