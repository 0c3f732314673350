"""Agents whose packages are extras, where these are not installed."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from copilot_runtime.agents import LangGraphAgent, PydanticAIAgent


@pytest.mark.parametrize(
    ("agent", "module", "extra"),
    [(PydanticAIAgent, "pydantic_ai.ui.ag_ui", "pydantic-ai"), (LangGraphAgent, "ag_ui_langgraph", "langgraph")],
)
def test_a_missing_package_is_said_at_construction(
    monkeypatch: pytest.MonkeyPatch, agent: Any, module: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)  # what makes an import of it fail, installed or not
    with pytest.raises(ImportError, match=rf"pip install 'copilot-runtime\[{extra}\]'"):
        agent(object())
