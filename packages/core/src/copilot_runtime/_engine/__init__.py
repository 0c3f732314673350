"""The engine: one run's life, and what its readers see of it."""

from .engine import Engine, EngineOptions, Stopped
from .stream_limiter import TooManyStreams
from .types import EndedRun, RunInput

__all__ = ["EndedRun", "Engine", "EngineOptions", "RunInput", "Stopped", "TooManyStreams"]
