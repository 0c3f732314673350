"""Log lines for common mistakes in agents: each once per agent, so that a busy server's log is not flooded."""

from __future__ import annotations

import logging

logger = logging.getLogger("copilot_runtime.engine")

_LIMIT = 200
"""How many lines there may be in all: a factory may invent agent ids without end."""


class AgentHints:
    """Logs what an agent does wrong and what to write instead, the first time that it does."""

    def __init__(self) -> None:
        self._logged: set[tuple[str, str]] = set()

    def ended_without_terminal_event(self, agent_id: str, *, has_events: bool) -> None:
        """Logs that an agent returned before it had ended its run."""
        missing = "RUN_FINISHED" if has_events else "RUN_STARTED first and RUN_FINISHED"
        self._log_once(
            "terminal event",
            agent_id,
            f"agent %r returned without ending its run, which clients see as failed: yield {missing} last, as in "
            'yield {"type": "RUN_FINISHED", "threadId": input.thread_id, "runId": input.run_id}',
            agent_id,
        )

    def blocked_event_loop(self, agent_id: str, seconds: float) -> None:
        """Logs that an asynchronous agent kept its event loop from everything else."""
        self._log_once(
            "blocking",
            agent_id,
            "agent %r blocked the event loop for %.1f s, and with it all other requests and runs: make the agent a "
            "synchronous generator (def instead of async def), which runs on its own thread, or call what blocks with "
            "await asyncio.to_thread(...)",
            agent_id,
            seconds,
        )

    def _log_once(self, mistake: str, agent_id: str, message: str, *arguments: object) -> None:
        key = (mistake, agent_id)
        if key not in self._logged and len(self._logged) < _LIMIT:
            self._logged.add(key)
            logger.warning(message, *arguments)
