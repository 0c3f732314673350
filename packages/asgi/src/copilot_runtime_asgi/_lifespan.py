"""The lifespan protocol (ASGI 2.0): it ends a runtime's runs when the server shuts down."""

from __future__ import annotations

from copilot_runtime import CopilotRuntime

from ._asgi_types import ASGIApp, Message, Receive, Scope, Send


async def serve_lifespan(runtime: CopilotRuntime, receive: Receive, send: Send) -> None:
    """Answers a server's lifespan events until shutdown."""
    is_running = True
    while is_running:
        message = await receive()
        await _handle(message, runtime)
        is_running = message["type"] != "lifespan.shutdown"
        await send({"type": f"{message['type']}.complete"})


async def share_lifespan(app: ASGIApp, runtime: CopilotRuntime, scope: Scope, receive: Receive, send: Send) -> None:
    """Passes lifespan events on to ``app``, and ends the runtime's runs before ``app`` shuts down.

    An application that does not support lifespan raises, as Django does, or returns. The events are then answered
    for the runtime alone.
    """
    received: list[Message] = []
    has_answered = False

    async def receive_wrapper() -> Message:
        message = await receive()
        received.append(message)
        await _handle(message, runtime)
        return message

    async def send_wrapper(message: Message) -> None:
        nonlocal has_answered
        has_answered = True
        await send(message)

    async def receive_again() -> Message:
        return received.pop(0) if received else await receive()

    try:
        await app(scope, receive_wrapper, send_wrapper)
    except Exception:
        if has_answered:
            raise
    if not has_answered:
        await serve_lifespan(runtime, receive_again, send)


async def _handle(message: Message, runtime: CopilotRuntime) -> None:
    if message["type"] == "lifespan.startup":
        runtime.startup()
    elif message["type"] == "lifespan.shutdown":
        await runtime.shutdown()
