"""The engine: one run's life, and what its readers see of it."""

from .engine import Engine, EngineOptions, Stopped
from .outcome import EndedRun, RunInput
from .streams import TooManyStreams

__all__ = ["EndedRun", "Engine", "EngineOptions", "RunInput", "Stopped", "TooManyStreams"]
