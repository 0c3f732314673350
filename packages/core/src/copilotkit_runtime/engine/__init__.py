"""The engine: one run's life, and what its readers see of it."""

from .engine import Engine, EngineOptions, Stopped, TooManyStreams
from .outcome import EndedRun, RunInput

__all__ = ["EndedRun", "Engine", "EngineOptions", "RunInput", "Stopped", "TooManyStreams"]
