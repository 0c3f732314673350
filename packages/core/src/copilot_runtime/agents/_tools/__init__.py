"""Tools that a model can call."""

from __future__ import annotations

from .attachments import Attachment
from .define import define_tool
from .tool import Interrupt, Tool, ToolError

__all__ = ["Attachment", "Interrupt", "Tool", "ToolError", "define_tool"]
