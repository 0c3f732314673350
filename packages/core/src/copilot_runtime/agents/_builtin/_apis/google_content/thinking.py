"""Gemini's thinking: whether it is shown, and how much of it is requested."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_WITHOUT = re.compile(r"(.*/)?(gemini-(1|2\.0|pro$|pro-vision)|gemma|learnlm)|.*-(image|tts|live|audio)")
"""The beginnings of the names of models that do not think."""

_WITH_BUDGET = re.compile(r"(.*/)?gemini-2")
"""The beginnings of the names of models that need a number of tokens for it, and no level."""

_WITH_MINIMAL = re.compile(r"(.*/)?gemini-3(\.[1-7])?-flash")
"""The beginnings of the names of models that have the level MINIMAL. All others with levels have LOW."""

_WITHOUT_MEDIUM = re.compile(r"(.*/)?gemini-3-pro")

_LEVELS: Mapping[str, str] = {
    "none": "MINIMAL",
    "minimal": "MINIMAL",
    "low": "LOW",
    "medium": "MEDIUM",
    "high": "HIGH",
    "xhigh": "HIGH",
    "max": "HIGH",
}
_BUDGETS: Mapping[str, int] = {
    "none": 0,
    "minimal": 512,
    "low": 1024,
    "medium": 8192,
    "high": 24576,
    "xhigh": 24576,
    "max": 24576,
}
"""In tokens, by effort."""
_MIN_BUDGET_OF_PRO = 128


def thinks(model: str) -> bool:
    """Returns whether a model thinks."""
    return not _WITHOUT.match(model)


def thinking_config(model: str, effort: str | None) -> dict[str, Any] | None:
    """Returns the parameters of thinking; None if the model does not think.

    Args:
        model: the name of the model.
        effort: the option ``reasoning_effort``.
    """
    if not thinks(model):
        return None
    config: dict[str, Any] = {"include_thoughts": effort != "none"}
    if effort is None:
        return config
    if not _WITH_BUDGET.match(model):
        return {**config, "thinking_level": _level(model, effort)}
    budget = _BUDGETS[effort]
    return {**config, "thinking_budget": max(budget, _MIN_BUDGET_OF_PRO) if "pro" in model else budget}


def _level(model: str, effort: str) -> str:
    level = _LEVELS[effort]
    if level == "MINIMAL" and not _WITH_MINIMAL.match(model):
        return "LOW"
    return "HIGH" if level == "MEDIUM" and _WITHOUT_MEDIUM.match(model) else level
