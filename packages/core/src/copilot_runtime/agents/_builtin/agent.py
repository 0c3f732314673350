"""`BuiltInAgent`: an agent from a model's name."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from typing import TYPE_CHECKING, Any

from ... import _validation as validation
from ..._log_text import one_line
from .._mcp import MCPServer, open_mcp_servers
from .._mcp.server import parse_mcp_servers
from .._tools.tool import Tool
from .._tools.toolbox import Toolbox
from .agent_loop import AgentLoop, tool_result_event
from .completion_stream import Event
from .conversation import to_messages
from .errors import to_model_error
from .messages import Message, SystemMessage, ToolContent
from .options import Options, forced_tool, forwarded_props, parse_overridable
from .prompt import build_system_prompt
from .providers import Credentials, Model, missing_variables
from .rejected_options import name_rejected_option
from .result_media import ResultMedia
from .resume import Resumption
from .run_config import RunConfig, RunConfigResolver
from .state_tools import STATE_TOOL_NAMES, SharedState
from .tool_options import parse_tools, warn_of_unread_results
from .traced_model import traced

if TYPE_CHECKING:
    from ag_ui.core import RunAgentInput
    from anthropic import AsyncAnthropic
    from google.genai import Client as GoogleClient
    from openai import AsyncOpenAI

    from .._context import RunContext

logger = logging.getLogger("copilot_runtime.agents.builtin")

_CAPABILITIES: Mapping[str, Any] = {
    "tools": {"supported": True, "clientProvided": True},
    "transport": {"streaming": True},
    "humanInTheLoop": {"interrupts": True},
}


class BuiltInAgent:
    """Calls a model over its maker's API, and runs the server tools that it calls.

    The frontend's tools come with each run, and run in the frontend. A missing key is logged as a warning at
    construction, and ends each run with a ``RUN_ERROR``.

    Args:
        model: ``provider/model`` or ``provider:model`` of the providers openai, anthropic, google, vertex and minimax;
            or, with ``base_url`` or ``client``, the name of any model of that server.
        prompt: the beginning of the system prompt, before the application's context and state.
        tools: functions, results of `define_tool`, or `Tool` values.
        mcp_servers: `MCPServer` values (extra ``mcp``).
        state_tools: whether the model is offered the two tools that change the application's state.
        max_steps: how often a run calls the model at most. It calls it again only if all tool calls of the previous
            step have results from the server.
        tool_choice: ``"auto"``, ``"required"``, ``"none"``, or the name of a tool as ``{"type": "function",
            "function": {"name": ...}}``. A choice that forces a call applies to the first step.
        max_output_tokens: limit for the tokens of one completion.
        temperature: 0 to 2. This and the next five are the model's sampling parameters.
        top_p: 0 to 1.
        presence_penalty: -2 to 2.
        frequency_penalty: -2 to 2.
        stop_sequences: strings at which the model stops.
        top_k: from how many of the likeliest tokens the next one is chosen.
        reasoning_effort: how much the model thinks before it responds: ``"none"``, ``"minimal"``, ``"low"``,
            ``"medium"``, ``"high"``, ``"xhigh"`` or ``"max"``.
        parallel_tool_calls: whether the model may call several tools at once.
        prompt_caching: whether Anthropic is asked to cache tools, prompt and history. Others cache of their own accord.
        seed: an integer.
        max_retries: the SDK's retries of a request, before its response begins.
        timeout: the SDK's timeout of each request: seconds, or an ``httpx.Timeout``.
        provider_options: further parameters of the request. None removes a parameter that is sent otherwise.
        forward_system_messages: whether ``system`` messages of the client are sent to the model.
        forward_developer_messages: whether ``developer`` messages of the client are sent to the model.
        overridable_properties: the options that a run may override in its ``forwardedProps``.
        capabilities: merged over the default capabilities that ``/info`` reports.
        description: reported by ``/info``.
        api_key: the provider's key; by default from the environment, see docs/builtin-agent.md.
        base_url: the server's URL; by default from the environment, or else the provider's.
        client: an ``openai.AsyncOpenAI``, ``anthropic.AsyncAnthropic`` or ``google.genai.Client`` in place of both,
            which its owner closes and which must not be shared between event loops.
        api: ``"responses"``, ``"chat"``, ``"messages"`` or ``"generate_content"``, to call the model over an API other
            than its maker's.
        debug: adds the causes of failures, which are always logged, to the messages that clients receive. The
            runtime's ``debug`` does so for all agents.

    Raises:
        ImportError: if the SDK of the model's maker is not installed.
        ValueError: for an invalid option.
        TypeError: for an option of the wrong type.
    """

    verifies_resume = True
    """Entries that respond to no open interrupt may still cancel a call, but never run a tool."""

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
        top_k: int | None = None,
        reasoning_effort: str | None = None,
        parallel_tool_calls: bool | None = None,
        prompt_caching: bool = True,
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
        client: AsyncOpenAI | AsyncAnthropic | GoogleClient | None = None,
        api: str | None = None,
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
        self.capabilities: Mapping[str, Any] = {**_CAPABILITIES, **(capabilities or {})}
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
                "top_k": top_k,
                "reasoning_effort": reasoning_effort,
                "parallel_tool_calls": parallel_tool_calls,
                "prompt_caching": prompt_caching,
                "seed": seed,
                "max_retries": max_retries,
                "timeout": timeout,
                "provider_options": provider_options,
            }
        )
        if client is not None and (api_key is not None or base_url is not None):
            raise ValueError("BuiltInAgent takes either a client or api_key and base_url: a client has its own")
        credentials = Credentials(api_key=api_key, base_url=base_url)
        has_explicit_endpoint = client is not None or base_url is not None
        self._config_resolver = RunConfigResolver(
            model=Model.parse(model, allow_unknown_provider=has_explicit_endpoint),
            options=options,
            overridable=parse_overridable(overridable_properties),
            credentials=credentials,
            client=client,
            api=api,
            has_explicit_endpoint=has_explicit_endpoint,
        )
        self._tools = parse_tools(tools, STATE_TOOL_NAMES if state_tools else ())
        self._mcp_servers = parse_mcp_servers("BuiltInAgent: mcp_servers", mcp_servers)
        if options.max_steps == 1:
            warn_of_unread_results(self._tools, self._mcp_servers)
        self._state_tools = state_tools
        self._forward_system = forward_system_messages
        self._forward_developer = forward_developer_messages
        self._debug = debug
        provider = self._config_resolver.model.provider
        if client is None and not credentials.has_key(provider):
            logger.warning(
                "BuiltInAgent(model=%r) has no key: its runs will fail until %s is set",
                model,
                missing_variables(provider),
            )

    async def run(self, input: RunAgentInput, context: RunContext | None = None) -> AsyncGenerator[Event]:
        """Yields the events of one run, on the wire.

        A failure of the model is reported by a final ``RUN_ERROR`` with a code, see docs/builtin-agent.md. Closing the
        iterator, or cancelling the task that awaits it, closes the connection to the model.
        """
        ids = {"threadId": input.thread_id, "runId": input.run_id}
        debug = self._debug or (context is not None and context.debug)
        yield {"type": "RUN_STARTED", **ids}
        config: RunConfig | None = None
        try:
            config = await self._config_resolver.resolve(input)
            async with self._open_mcp_servers(context) as mcp_tools:
                state = SharedState(input.state)
                server_tools = (*(state.tools() if self._state_tools else ()), *self._tools, *mcp_tools)
                toolbox = Toolbox(server_tools, input.tools or (), debug=debug)
                resumption = Resumption(getattr(input, "resume", None), input.messages, toolbox, context)
                async with aclosing(resumption.resolve()) as resolved:
                    async for call_id, result in resolved:
                        yield tool_result_event(call_id, result)
                interrupts = resumption.unanswered()
                # A model can be called only once all of its calls have a result.
                if not interrupts and not resumption.waits_for_client():
                    result_media = ResultMedia()
                    results = {
                        call_id: result_media.content(call_id, result) for call_id, result in resumption.results.items()
                    }
                    forced = forced_tool(forwarded_props(input), toolbox.client_names)
                    loop = AgentLoop(
                        connection=traced(config.connection, config.model.provider.name),
                        model=config.model,
                        api=config.api,
                        server=config.server,
                        options=config.options,
                        tool_choice=forced or config.options.tool_choice,
                        # By forcing its own tool a frontend must not get around the choice of the application.
                        runs_server_tools=forced is None and config.options.tool_choice != "none",
                        messages=self._messages(input, config, results),
                        used_call_ids={
                            call.id for message in input.messages for call in getattr(message, "tool_calls", None) or ()
                        },
                        toolbox=toolbox,
                        state=state,
                        context=context,
                        usage=config.usage,
                        result_media=result_media,
                    )
                    async with aclosing(loop.events()) as events:
                        async for event in events:
                            yield event
                    interrupts = loop.interrupts
        except Exception as error:
            failure = to_model_error(error, secret="" if config is None else config.connection.secret)
            if failure is None:
                raise
            overridable = self._config_resolver.overridable
            failure = name_rejected_option(failure, error, forwarded_props(input), overridable)
            logger.warning("%s: %s", self._config_resolver.model if config is None else config.model, one_line(failure))
            usage = {} if config is None else config.usage.event_fields("RUN_ERROR")
            yield {**failure.to_event(with_detail=debug), **usage}
            return
        finished = {"type": "RUN_FINISHED", **ids, **config.usage.event_fields("RUN_FINISHED")}
        if interrupts:
            finished["outcome"] = {"type": "interrupt", "interrupts": interrupts}
        yield finished

    async def aclose(self) -> None:
        """Closes the running event loop's idle connections; the next run opens new ones.

        Not needed at shutdown: an event loop closes its own connections when it shuts down.
        """
        await self._config_resolver.aclose()

    def _open_mcp_servers(self, context: RunContext | None) -> AbstractAsyncContextManager[Sequence[Tool]]:
        if not self._mcp_servers:
            return nullcontext(())
        return open_mcp_servers(self._mcp_servers, context)

    def _messages(self, input: RunAgentInput, config: RunConfig, resumed: Mapping[str, ToolContent]) -> list[Message]:
        messages = to_messages(
            input.messages,
            config.model.provider.name,
            server=config.server,
            resumed_results=resumed,
            forward_system=self._forward_system,
            forward_developer=self._forward_developer,
        )
        prompt = build_system_prompt(
            config.options.prompt, input.context or (), input.state, state_tools=self._state_tools
        )
        return [SystemMessage(prompt), *messages] if prompt else messages
