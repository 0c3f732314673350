"""One session with a server, in a task of its own.

The task opens, holds and closes the session: the SDK's cancel scopes have to be exited in the task that entered them,
but a run may be closed from any task.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

from ..._concurrency.loop_resources import loop_resources
from .._tools.tool import ToolError
from .program import Program
from .sdk import JSONObject, MCPSession

logger = logging.getLogger("copilot_runtime.agents.mcp")

T = TypeVar("T")

DISCONNECTED = "The tool server disconnected."


class SessionTask:
    """A session that opens on the running loop as soon as it is constructed. `close` must be called.

    It is a `LoopResource`, which also keeps its task: an event loop does not keep those that close after their run.

    Args:
        opened: opens the session, and closes it on exit.
        label: the name of the server in the log.
        describe: returns an exception in one line, for the log.
        program: the process of the server, if the session starts and ends it.
    """

    def __init__(
        self,
        opened: AbstractAsyncContextManager[MCPSession],
        label: str,
        describe: Callable[[BaseException], str],
        program: Program | None = None,
    ) -> None:
        self.program = program
        self.loop = asyncio.get_running_loop()
        self.on_retire: Callable[[], object] | None = None
        """Called at shutdown: has no further run use it, and closes it if none does. A run closes its own session."""
        self._label = label
        self._describe = describe
        self._session: asyncio.Future[MCPSession] = self.loop.create_future()
        self._session.add_done_callback(_retrieve)
        self._failure: Exception | None = None
        self._has_responded = False
        self._timeouts: set[asyncio.Timeout] = set()
        self._close_requested = asyncio.Event()
        self._is_closing = False
        self.task = asyncio.create_task(self._run(opened))
        loop_resources.add(self)
        self.task.add_done_callback(lambda _: loop_resources.discard(self))

    @property
    def is_usable(self) -> bool:
        """Whether the session is open, or about to be."""
        if self.is_closing:
            return False
        if not self._session.done():
            return True
        return self._session.exception() is None and not self._session.result().is_lost

    @property
    def is_closing(self) -> bool:
        """Whether the session is closed, or has been requested to close."""
        return self._is_closing or self.task.done()

    async def session(self) -> MCPSession:
        """Waits until the session is open, and returns it. Raises what has prevented it from opening."""
        return await asyncio.shield(self._session)

    def close(self) -> None:
        """Requests the session to close, which it has once its task is done."""
        if self._is_closing:
            return
        self._is_closing = True
        if self._session.done():
            self._close_requested.set()
        else:
            self.task.cancel()

    def retire(self) -> None:
        """Has no further run use the session, and closes it if none does."""
        if self.on_retire is not None:
            self.on_retire()

    def kill(self) -> None:
        """Closes the session at once: without a word to its server, or by killing the server's process."""
        self.close()
        if self.program is not None:
            self.program.kill()
        else:
            self.task.cancel()

    async def _run(self, opened: AbstractAsyncContextManager[MCPSession]) -> None:
        try:
            async with opened as session:
                self._session.set_result(session)
                await self._close_requested.wait()
        except Exception as error:
            if not self._session.done():
                self._session.set_exception(error)
            elif self._close_requested.is_set():
                logger.debug("MCP server %s: closing a session: %s", self._label, self._describe(error))
            else:
                self._failure = error
                if self._has_responded:  # or it is logged that the server is unavailable
                    logger.warning("MCP server %s has disconnected: %s", self._label, self._describe(error))
        finally:
            if not self._session.done():
                # No cancellation: runs that wait for it are not cancelled.
                self._session.set_exception(ToolError(DISCONNECTED))
            # The SDK's 1.x never completes a request whose connection was closed.
            for timeout in self._timeouts:
                if not timeout.expired():
                    timeout.reschedule(asyncio.get_running_loop().time())

    async def request(self, send: Callable[[MCPSession], Awaitable[T]], seconds: float) -> T:
        """Returns what ``send`` returns for the session. Raises what it does, TimeoutError, and ToolError.

        The latter says that the server has disconnected.
        """
        session = await self.session()
        if self.task.done():
            raise ToolError(DISCONNECTED)
        try:
            async with asyncio.timeout(seconds) as timeout:
                self._timeouts.add(timeout)
                try:
                    response = await send(session)
                    self._has_responded = True
                    return response
                finally:
                    self._timeouts.discard(timeout)
        except TimeoutError as error:
            if self.task.done():
                raise ToolError(DISCONNECTED) from self._failure or error
            raise

    async def call_tool(self, name: str, arguments: Mapping[str, Any], seconds: float) -> JSONObject:
        """Returns the result of a tool. Raises as `request` does."""
        return await self.request(lambda session: session.call_tool(name, arguments), seconds)


def _retrieve(session: asyncio.Future[MCPSession]) -> None:
    session.exception()  # or the loop logs that nobody has waited for it
