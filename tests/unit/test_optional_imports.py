"""Agents whose packages are extras, where these are not installed."""

from __future__ import annotations

import re
import sys
from typing import Any

import pytest

from copilot_runtime.agents import LangGraphAgent, PydanticAIAgent

PYDANTIC_AI = """PydanticAIAgent requires the "pydantic-ai" package: pip install 'copilot-runtime[pydantic-ai]'"""
LANGGRAPH = """LangGraphAgent requires the "ag-ui-langgraph" package: pip install 'copilot-runtime[langgraph]'"""


@pytest.mark.parametrize(
    ("agent", "module", "text"),
    [
        (PydanticAIAgent, "pydantic_ai.ui.ag_ui", PYDANTIC_AI),
        (LangGraphAgent, "ag_ui_langgraph", LANGGRAPH),
    ],
)
def test_optional_package_that_is_missing_is_named_at_construction(
    monkeypatch: pytest.MonkeyPatch, agent: Any, module: str, text: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)  # what makes an import of it fail, installed or not
    with pytest.raises(ImportError, match=f"^{re.escape(text)}$"):
        agent(object())
