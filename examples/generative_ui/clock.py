"""An MCP server whose tool has an app: a clock, which can set an alarm."""

from __future__ import annotations

from pathlib import Path

from mcp.server.apps import Apps
from mcp.server.mcpserver import MCPServer

APP = "ui://clock/app.html"
apps = Apps()


@apps.tool(resource_uri=APP, description="Shows a clock.", structured_output=False)
def show_clock(zone: str) -> str:
    return f"12:00 {zone}"


@apps.tool(resource_uri=APP, description="Sets an alarm.", visibility=["app"], structured_output=False)
def set_alarm(time: str) -> str:
    return f"alarm at {time}"


apps.add_html_resource(APP, Path(__file__).with_name("clock.html").read_text(encoding="utf-8"))
app = MCPServer("clock", extensions=[apps]).streamable_http_app()
