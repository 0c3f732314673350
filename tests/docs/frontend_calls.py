"""Calls what a page defines as a frontend, or its reader's test runner, would call it.

By what a function takes: an agent is run, its question answered and its calls of frontend tools executed; a tool is
called by a model; ``identify_user`` sees a request with and without credentials; a test is run.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from copilot_runtime import CopilotRuntime, User
from copilot_runtime.agents import BuiltInAgent
from copilot_runtime.agents import Tool as ServerTool
from copilot_runtime.testing import RunResult, TestClient

from ..builtin.fake_provider import Exchange, chunk, run_fake_provider, tool_call_chunk

ADA = User(id="ada", name="Ada")

Caller = Callable[[Any], object]


def call(value: Any) -> bool:
    """Calls a value of a page by what it is; returns whether that is known."""
    caller = _caller_of(value)
    if caller is None:
        return False
    caller(value)
    return True


def _caller_of(value: Any) -> Caller | None:
    if isinstance(value, ServerTool):
        return call_tool
    if not isinstance(value, types.FunctionType) or not value.__code__.co_filename.startswith("<"):
        return None  # what a page imports is not its own
    if value.__name__.startswith("test_"):
        return run_test if not inspect.signature(value).parameters else None
    return _BY_PARAMETERS.get(tuple(inspect.signature(value).parameters))


def run_agent(agent: Any, messages: Iterable[Any] = ("hi",), **options: Any) -> list[RunResult]:
    """Runs an agent as a user does, who agrees to what it asks, and whose page executes its tools."""
    with TestClient(CopilotRuntime(agents={"a": agent}, identify_user=lambda request: ADA)) as client:
        results = [client.run("a", list(messages), **options)]
        answers = [
            {"interruptId": each["id"], "status": "resolved", "payload": "yes"} for each in _questions(results[0])
        ]
        for response in [answers, *([[{**answers[0], "payload": "no"}]] if answers else [])]:
            if response:
                results.append(_go_on(client, results[0], {"resume": response}, **options))
        calls = [each["id"] for message in results[0].messages for each in message.get("toolCalls", ())]
        done = [{"id": f"{id}-result", "role": "tool", "toolCallId": id, "content": "done"} for id in calls]
        if done and not answers:
            results.append(_go_on(client, results[0], {}, done, **options))
    for result in results:
        assert result.error is None, result.error
    return results


def _questions(result: RunResult) -> list[dict[str, Any]]:
    outcome = result.events[-1].get("outcome") or {}
    return list(outcome.get("interrupts", ()))


def _go_on(client: TestClient, first: RunResult, extra: Mapping[str, Any], more: Any = (), **options: Any) -> RunResult:
    return client.run("a", [*first.messages, *more], thread_id=first.thread_id, extra=extra, **options)


def run_middleware(middleware: Any, *texts: str) -> list[str]:
    """Runs a middleware around an agent that says one text after the other, and returns what the client gets."""
    from copilot_runtime.middleware import use

    said = iter(texts or ("Hello.",))

    def agent(input: Any) -> Iterable[dict[str, Any]]:
        ids = {"threadId": input.thread_id, "runId": input.run_id}
        yield {"type": "RUN_STARTED", **ids}
        text = next(said)
        yield {"type": "TEXT_MESSAGE_CHUNK", "messageId": text, "role": "assistant", "delta": text}
        yield {"type": "RUN_FINISHED", **ids}

    with TestClient(CopilotRuntime(agents={"a": use(agent, middleware)}, single_user=True)) as client:
        result = client.run("a", "hi")
    return [str(event.get("code", event.get("delta"))) for event in result.events if {"code", "delta"} & event.keys()]


def call_tool(tool: ServerTool) -> None:
    """Has a model call a tool of the server, with arguments that its schema wants."""
    for answer in ("yes", "no") if tool.interrupt else ("",):
        _call_tool(tool, answer)


def _call_tool(tool: ServerTool, answer: str) -> None:
    def script(exchange: Exchange) -> None:
        exchange.start_stream()
        if any(message["role"] == "tool" for message in exchange.json()["messages"]):
            exchange.send(chunk({"content": "There it is."}))
            exchange.finish()
        else:
            exchange.send(tool_call_chunk(0, json.dumps(arguments), "c", tool.name))
            exchange.finish("tool_calls")

    arguments = {name: _example(schema) for name, schema in tool.parameters.get("properties", {}).items()}
    with run_fake_provider(script) as provider:
        agent = BuiltInAgent("openai/m", base_url=provider.url, api_key="k", tools=[tool], max_steps=2)
        with TestClient(CopilotRuntime(agents={"a": agent}, identify_user=lambda request: ADA)) as client:
            result = client.run("a", "hi")
            if answer:
                [question] = _questions(result)
                resume = [{"interruptId": question["id"], "status": "resolved", "payload": answer}]
                result = _go_on(client, result, {"resume": resume})
    assert result.error is None, result.error
    assert result.text.endswith("There it is."), result.messages


def _example(schema: Mapping[str, Any]) -> Any:
    return {"integer": 1, "string": "Rome"}[schema["type"]]


def identify(function: Any, native: Any = None) -> None:
    """Sends one request with credentials, and one without."""
    with TestClient(CopilotRuntime(agents={"a": _silent}, identify_user=function), native=native) as client:
        headers = {"authorization": "ada", "cookie": "ada", "x-user": "ada"}
        statuses = [client.run("a", "hi", headers=each, check=False).status for each in (headers, {})]
    assert statuses == [200, 401], (function.__code__.co_filename, statuses)


def _silent(input: Any) -> list[dict[str, Any]]:
    ids = {"threadId": input.thread_id, "runId": input.run_id}
    return [{"type": "RUN_STARTED", **ids}, {"type": "RUN_FINISHED", **ids}]


def run_test(test: Callable[[], Any]) -> None:
    result = test()
    if inspect.iscoroutine(result):
        asyncio.run(result)


_BY_PARAMETERS: dict[tuple[str, ...], Caller] = {
    ("input",): run_agent,
    ("input", "context"): run_agent,
    ("input", "next"): run_middleware,
    ("request",): identify,
}
