"""The playground: a page to try the agents of a runtime, served from static files below the runtime's own path."""

from __future__ import annotations


def not_for_production(reason: str, instead: str) -> str:
    """Returns what an adapter says that refuses the playground.

    Args:
        reason: how the adapter knows that this is production, without a full stop.
        instead: what to write instead.
    """
    return f"playground=True serves a page for developers, but {reason}, so this is a production server. {instead}"
