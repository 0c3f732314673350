"""What the model is told before the conversation."""

from __future__ import annotations

from typing import Any

import pytest
from ag_ui.core import Context

from copilot_runtime.agents._builtin.prompt import build_system_prompt

CONTEXT = [Context(description="The user's name", value="Ada"), Context(description="Time zone", value="UTC")]


def test_the_prompt_comes_first_then_the_context_then_the_state() -> None:
    text = build_system_prompt("Be kind.", CONTEXT, {"items": ["ä"]}, state_tools=True)
    places = [text.index(part) for part in ("Be kind.", "The user's name:\nAda", "Time zone:\nUTC", '"items"', '"ä"')]
    assert places == sorted(places)
    assert places[0] == 0


@pytest.mark.parametrize("state", [None, {}, ""])
def test_nothing_is_said_where_there_is_nothing_to_say(state: Any) -> None:
    assert build_system_prompt("", [], state, state_tools=True) == ""


@pytest.mark.parametrize("state", [[], 0, False, {"a": None}])
def test_a_state_that_says_something_is_told(state: Any) -> None:
    assert "state" in build_system_prompt("", [], state, state_tools=True)


def test_the_state_tools_are_named_only_where_they_are_offered() -> None:
    assert "AGUISendStateDelta" in build_system_prompt("", [], {"a": 1}, state_tools=True)
    assert "AGUISendStateDelta" not in build_system_prompt("", [], {"a": 1}, state_tools=False)
