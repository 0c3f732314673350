"""`BuiltInAgent`: an agent from a model's name, which needs no package but ``openai``."""

from __future__ import annotations

from .agent import BuiltInAgent

__all__ = ["BuiltInAgent"]
