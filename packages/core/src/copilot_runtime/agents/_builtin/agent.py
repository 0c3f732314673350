"""`BuiltInAgent`: an agent from a model's name."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from typing import TYPE_CHECKING, Any

from ... import _validation as validation
from .agent_loop import AgentLoop, tool_result_event
from .chat_messages import Message, to_chat_messages
from .completion_stream import Event
from .errors import to_model_error
from .mcp import MCPServer, open_mcp_servers
from .options import Options, parse_overridable
from .prompt import build_system_prompt
from .providers import Credentials, Model
from .resume import resolve_resume_entries
from .run_config import RunConfig, RunConfigResolver
from .tools.define import as_tool
from .tools.state_tools import STATE_TOOL_NAMES, SharedState
from .tools.tool import Tool
from .tools.toolbox import Toolbox, ToolResult

if TYPE_CHECKING:
    from ag_ui.core import RunAgentInput
    from openai import AsyncOpenAI

    from .._context import RunContext

logger = logging.getLogger("copilot_runtime.agents.builtin")

_CAPABILITIES: Mapping[str, Any] = {
    "tools": {"supported": True, "clientProvided": True},
    "transport": {"streaming": True},
    "humanInTheLoop": {"interrupts": True},
}


class BuiltInAgent:
    """Talks to a model over the Chat Completions API, and runs the tools that it calls.

    ``model`` is ``provider/model`` or ``provider:model``, of the providers openai, anthropic,
    google and minimax; with ``base_url`` or ``client``, the name of any model of that server.
    ``api_key`` and ``base_url`` are taken from the environment unless given (see
    docs/builtin-agent.md for the variables); ``client`` is an ``AsyncOpenAI`` to use as it is,
    which stays its owner's to close and must not be shared between event loops.

    ``tools`` are functions, what `define_tool` makes of them, or `Tool` values; ``mcp_servers``
    are `MCPServer` values (extra ``mcp``); ``state_tools`` offers the two tools with which the
    model changes the application's state. The frontend's own tools come with each run.

    ``prompt`` comes before the application's context and state. A run asks the model
    ``max_steps`` times at most, and again only after all tools that it called have results
    from the server. ``timeout`` is in seconds, for each request; it and ``max_retries`` are
    the SDK's. ``provider_options`` are further members of the request, where None takes away
    one that we would send. ``forward_system_messages`` and ``forward_developer_messages`` hand
    on what a client sends in these roles. ``overridable_properties`` names the options that a
    run's ``forwardedProps`` may override. ``capabilities`` are merged over what is announced
    anyway. ``debug`` adds the causes of failures, which otherwise only the log has, to what
    clients are told.

    Raises ImportError without the ``openai`` package, ValueError and TypeError for what could
    never work. A missing key is a warning here and a ``RUN_ERROR`` at each run.
    """

    def __init__(
        self,
        model: str,
        *,
        prompt: str | None = None,
        tools: Iterable[Tool | Callable[..., Any]] = (),
        mcp_servers: Iterable[MCPServer] = (),
        state_tools: bool = True,
        max_steps: int = 1,
        tool_choice: str | Mapping[str, Any] | None = None,
        max_output_tokens: int | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        presence_penalty: float | None = None,
        frequency_penalty: float | None = None,
        stop_sequences: Sequence[str] | None = None,
        seed: int | None = None,
        max_retries: int | None = None,
        timeout: Any = None,
        provider_options: Mapping[str, Any] | None = None,
        forward_system_messages: bool = False,
        forward_developer_messages: bool = False,
        overridable_properties: Iterable[str] = (),
        capabilities: Mapping[str, Any] | None = None,
        description: str = "",
        api_key: str | None = None,
        base_url: str | None = None,
        client: AsyncOpenAI | None = None,
        debug: bool = False,
    ) -> None:
        for name, flag in (
            ("state_tools", state_tools),
            ("forward_system_messages", forward_system_messages),
            ("forward_developer_messages", forward_developer_messages),
            ("debug", debug),
        ):
            validation.check_bool(f"BuiltInAgent: {name}", flag)
        self.description = description
        self.capabilities = {**_CAPABILITIES, **(capabilities or {})}
        options = Options.parse(
            {
                "prompt": prompt,
                "max_steps": max_steps,
                "tool_choice": tool_choice,
                "max_output_tokens": max_output_tokens,
                "temperature": temperature,
                "top_p": top_p,
                "presence_penalty": presence_penalty,
                "frequency_penalty": frequency_penalty,
                "stop_sequences": stop_sequences,
                "seed": seed,
                "max_retries": max_retries,
                "timeout": timeout,
                "provider_options": provider_options,
            }
        )
        if client is not None and (api_key is not None or base_url is not None):
            raise ValueError("BuiltInAgent needs either a client or api_key and base_url: a client has its own")
        credentials = Credentials(api_key=api_key, base_url=base_url)
        has_explicit_endpoint = client is not None or base_url is not None
        self._asker = RunConfigResolver(
            model=Model.parse(model, allow_unknown_provider=has_explicit_endpoint),
            options=options,
            overridable=parse_overridable(overridable_properties),
            credentials=credentials,
            has_explicit_endpoint=has_explicit_endpoint,
            client=client,
        )
        self._tools = _checked_tools(tools, STATE_TOOL_NAMES if state_tools else ())
        self._mcp_servers = _checked_servers(mcp_servers)
        self._state_tools = state_tools
        self._forward_system = forward_system_messages
        self._forward_developer = forward_developer_messages
        self._debug = debug
        if client is None and not credentials.has_key(self._asker.model.provider):
            variable = self._asker.model.provider.key_variable
            logger.warning("BuiltInAgent(model=%r) has no key: its runs will fail until %s is set", model, variable)

    async def run(self, input: RunAgentInput, context: RunContext | None = None) -> AsyncGenerator[Event]:
        """The events of one run, in wire form.

        What goes wrong between here and the model is one ``RUN_ERROR`` at the end, with a
        code; see docs/builtin-agent.md. Closing the iterator, or cancelling the task that
        waits for it, closes the connection to the model.
        """
        ids = {"threadId": input.thread_id, "runId": input.run_id}
        yield {"type": "RUN_STARTED", **ids}
        asked: RunConfig | None = None
        try:
            asked = await self._asker.resolve(input)
            async with self._remote_tools(context) as remote:
                state = SharedState(input.state)
                server_tools = (*(state.tools() if self._state_tools else ()), *self._tools, *remote)
                toolbox = Toolbox(server_tools, input.tools or (), debug=self._debug)
                resumed = await resolve_resume_entries(
                    getattr(input, "resume", None) or (), input.messages, toolbox, context
                )
                for call_id, result in resumed.items():
                    yield tool_result_event(call_id, result)
                talk = AgentLoop(
                    client=asked.client,
                    model=asked.model,
                    request=asked.options.to_request_params(asked.model.provider.max_tokens),
                    tool_choice=asked.options.tool_choice,
                    max_steps=asked.options.max_steps,
                    messages=self._messages(input, asked, resumed),
                    used_call_ids={
                        call.id for one in input.messages for call in getattr(one, "tool_calls", None) or ()
                    },
                    toolbox=toolbox,
                    state=state,
                    context=context,
                    usage=asked.usage,
                )
                async with aclosing(talk.events()) as events:
                    async for event in events:
                        yield event
        except Exception as error:
            trouble = to_model_error(error, secret="" if asked is None else asked.client.api_key)
            if trouble is None:
                raise
            logger.warning("%s: %s", self._asker.model if asked is None else asked.model, trouble)
            usage = {} if asked is None else asked.usage.event_fields("RUN_ERROR")
            yield {**trouble.to_event(with_detail=self._debug), **usage}
            return
        finished = {"type": "RUN_FINISHED", **ids, **asked.usage.event_fields("RUN_FINISHED")}
        if talk.interrupts:
            finished["outcome"] = {"type": "interrupt", "interrupts": talk.interrupts}
        yield finished

    async def aclose(self) -> None:
        """Closes the running event loop's idle connections; the next run opens new ones.

        Not needed at shutdown: an event loop that is shut down closes its own.
        """
        await self._asker.aclose()

    def _remote_tools(self, context: RunContext | None) -> AbstractAsyncContextManager[Sequence[Tool]]:
        if not self._mcp_servers:
            return nullcontext(())
        return open_mcp_servers(self._mcp_servers, context)

    def _messages(self, input: RunAgentInput, asked: RunConfig, resumed: Mapping[str, ToolResult]) -> list[Message]:
        said = to_chat_messages(
            input.messages,
            asked.model.provider,
            answers={call_id: result.for_model for call_id, result in resumed.items()},
            forward_system=self._forward_system,
            forward_developer=self._forward_developer,
        )
        prompt = build_system_prompt(
            asked.options.prompt, input.context or (), input.state, state_tools=self._state_tools
        )
        return [{"role": "system", "content": prompt}, *said] if prompt else said


def _checked_servers(given: Iterable[MCPServer]) -> tuple[MCPServer, ...]:
    servers = tuple(given)
    for server in servers:
        if not isinstance(server, MCPServer):
            raise TypeError(f"BuiltInAgent(mcp_servers=[{server!r}]): give MCPServer(url) values")
    return servers


def _checked_tools(given: Iterable[Tool | Callable[..., Any]], reserved: Collection[str]) -> tuple[Tool, ...]:
    tools = tuple(as_tool(one) for one in given)
    names = [*reserved, *(tool.name for tool in tools)]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ValueError(f"BuiltInAgent has two tools called {', '.join(sorted(twice))}: give one of each another name")
    return tools
