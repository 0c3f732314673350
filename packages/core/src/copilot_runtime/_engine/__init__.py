"""The engine: one run's life, and what its readers see of it."""

from .engine import Engine, EngineOptions, StopResult
from .stream_limiter import TooManyStreams
from .types import EndedRun, RunRequest

__all__ = ["EndedRun", "Engine", "EngineOptions", "RunRequest", "StopResult", "TooManyStreams"]
