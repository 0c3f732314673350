"""Agents: what runs."""

from .context import RunContext
from .http import HttpAgent

__all__ = ["HttpAgent", "RunContext"]
