"""What the model is told before the conversation."""

from __future__ import annotations

from typing import Any

import pytest
from ag_ui.core import Context

from copilot_runtime.agents._builtin.prompt import build_system_prompt

CONTEXT = [Context(description="The user's name", value="Ada"), Context(description="Time zone", value="UTC")]


def test_prompt_then_context_then_state() -> None:
    text = build_system_prompt("Be kind.", CONTEXT, {"items": ["ä"]}, state_tools=True)
    places = [text.index(part) for part in ("Be kind.", "The user's name:\nAda", "Time zone:\nUTC", '"items"', '"ä"')]
    assert places == sorted(places)
    assert places[0] == 0


@pytest.mark.parametrize("state", [None, {}, ""])
def test_prompt_without_anything_is_absent(state: Any) -> None:
    assert build_system_prompt("", [], state, state_tools=True) == ""


@pytest.mark.parametrize("state", [[], 0, False, {"a": None}])
def test_prompt_has_a_state_that_is_not_empty(state: Any) -> None:
    assert "state" in build_system_prompt("", [], state, state_tools=True)


def test_prompt_names_state_tools_only_if_offered() -> None:
    assert "AGUISendStateDelta" in build_system_prompt("", [], {"a": 1}, state_tools=True)
    assert "AGUISendStateDelta" not in build_system_prompt("", [], {"a": 1}, state_tools=False)
