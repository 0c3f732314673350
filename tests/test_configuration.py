"""What cannot work, or is not safe, is refused where it is written, with what to write instead."""

from __future__ import annotations

import math
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from copilot_runtime import (
    CopilotRuntime,
    CorsConfig,
    ForwardHeaders,
    InputLimits,
    OpenTelemetry,
    RuntimeHooks,
    User,
    create_copilot_runtime_handler,
)
from copilot_runtime.stores import MemoryStore
from copilot_runtime_asgi import CopilotMiddleware, copilot_endpoint, create_copilot_asgi_app, to_asgi
from copilot_runtime_wsgi import create_copilot_wsgi_app, to_wsgi

from .ids import stable_id


async def agent(input: Any) -> AsyncIterator[Any]:
    yield {}


class Agent:
    """An agent's class: what is wanted is an instance of it."""

    def run(self, input: Any) -> Any:
        return []


def identify(request: Any) -> User:
    return User(id="a")


def runtime(**options: Any) -> CopilotRuntime:
    return CopilotRuntime(**{"agents": {"default": agent}, **options})


def handler(**options: Any) -> Any:
    return create_copilot_runtime_handler(**{"runtime": runtime(), **options})


WRONG = (TypeError, ValueError)
INSTEAD = re.compile(r"\bmust\b|\bexpected\b|, such as|, as in|\buse\b|\bgive\b|\bname\b|\bwrite\b", re.IGNORECASE)
"""How our messages say what is accepted, or what to write instead."""


def of(what: Callable[..., Any], name: str, *values: Any, error: Any = WRONG, **beside: Any) -> list[Any]:
    """Cases of one option with several wrong values."""

    def making(value: Any) -> Callable[[], Any]:
        return lambda: what(**beside, **{name: value})

    return [pytest.param(name, making(value), error, id=f"{what.__name__}({name}={shown(value)})") for value in values]


def shown(value: Any) -> str:
    """A value in a test's name, which must be the same in every run."""
    return re.sub(" at 0x[0-9a-f]+", "", repr(value))


NUMBERS = (-1, "15", True, math.nan, math.inf, [1])
NO_BOOLEANS = ("false", "0")
"""What comes out of an environment variable, and would be true."""

CASES = [
    # --- CopilotRuntime
    *of(runtime, "agents", None, 3, "default", [agent], {agent}, error=TypeError),
    *of(runtime, "agents", {"": agent}, {" ": agent}, {3: agent}, {None: agent}),
    *of(runtime, "agents", {"agent": 3}, {"agent": None}, {"agent": "agent"}, {"agent": Agent},
        {"agent": object()}, error=TypeError),
    *of(runtime, "store", "", "memory", "redis", "nothing://", "mysql://localhost", 3, None, object(), MemoryStore),
    *of(runtime, "transcription_service", 3, "openai", object(), lambda audio: "text"),
    *of(runtime, "on_run_end", 3, "hook", [identify], error=TypeError),
    *of(runtime, "identify_user", 3, "user", User(id="a"), {"id": "a"}),
    *of(runtime, "single_user", True, identify_user=identify, error=ValueError),
    *of(runtime, "single_user", *NO_BOOLEANS),
    *of(runtime, "thread_access", "read", "manage", error=ValueError),
    *of(runtime, "thread_access", "write", "all", "", True, ["read"], single_user=True),
    *of(runtime, "forward_headers", {}, [], ["x-a"], True, "x-a"),
    *of(runtime, "on_concurrent_run", "queue", None, "", True, ["reject"]),
    *of(runtime, "on_disconnect", "cancel", None, "", True),
    *of(runtime, "max_body_bytes", 0, None, "32MB", 1e6, 1.5, *NUMBERS),
    *of(runtime, "max_streams", 0, *NUMBERS),
    *of(runtime, "max_runs", 0, 1.5, *NUMBERS),
    *of(runtime, "max_runs_per_user", 0, 1.5, *NUMBERS),
    *of(runtime, "max_runs_bytes", 0, 1.5, *NUMBERS),
    *of(runtime, "max_agent_threads", 0, 1.5, *NUMBERS),
    *of(runtime, "healthz", "yes", 1, None, error=TypeError),
    *of(runtime, "opentelemetry", "yes", 1, None, {}, OpenTelemetry, error=TypeError),
    *of(runtime, "input_limits", 100, {"max_messages": 1}, InputLimits, error=TypeError),
    *of(runtime, "attachment_url_schemes", "https", None, 3, [1], error=TypeError),
    *of(runtime, "attachment_url_schemes", ["https://"], [""], [" http"]),
    *[
        one
        for name in ("max_messages", "max_parts", "max_tools", "max_context", "max_resume", "max_depth")
        for one in of(InputLimits, name, 0, None, 1.5, *NUMBERS)
    ],
    *of(runtime, "sse_keep_alive_seconds", None, *NUMBERS),
    *of(runtime, "send_timeout_seconds", 0, 0.5, *NUMBERS),
    *of(runtime, "run_timeout_seconds", *NUMBERS),
    *of(runtime, "stop_grace_seconds", None, *NUMBERS),
    *of(runtime, "shutdown_grace_seconds", None, *NUMBERS),
    *of(runtime, "expose_memory_routes", *NO_BOOLEANS),
    *of(runtime, "debug", *NO_BOOLEANS),
    # --- CorsConfig
    *of(CorsConfig, "allow_origins", None, "*", ["*"], ("https://a.example", "*"), [None], allow_credentials=True,
        error=ValueError),
    *of(CorsConfig, "allow_origins", 3, True, b"https://a.example"),
    # None of these is what a browser sends as Origin, so none of them would ever be allowed.
    *of(CorsConfig, "allow_origins", "", "a.example", "https://a.example/", "https://a.example/app", "https://*.example",
        ["a.example"],
        ["https://a.example/"], "https://a.example,https://b.example"),
    *of(CorsConfig, "allow_credentials", *NO_BOOLEANS, allow_origins="https://a.example"),
    *of(CorsConfig, "allow_methods", "GET", "GET, POST"),
    *of(CorsConfig, "allow_headers", "x-a", "*"),
    *of(CorsConfig, "expose_headers", "x-a", None),
    *of(CorsConfig, "max_age", -1, "600"),
    # --- ForwardHeaders
    *of(ForwardHeaders, "allow", "x-a", None),
    *of(ForwardHeaders, "deny", "x-a", None),
    *of(ForwardHeaders, "deny_prefixes", "x-", None),
    *of(ForwardHeaders, "use_default_denylist", *NO_BOOLEANS),
    # --- RuntimeHooks
    *[
        one
        for name in ("on_request", "on_before_handler", "on_response", "on_error")
        for one in of(RuntimeHooks, name, 3, "hook", [identify], {}, error=TypeError)
    ],
    # --- MemoryStore
    *[
        one
        for name in ("max_threads", "max_runs_per_thread", "max_bytes")
        for one in of(MemoryStore, name, -1, None, "10", math.nan)
    ],
    # --- the handler
    *of(handler, "runtime", None, 3, {"default": agent}, CopilotRuntime, error=TypeError),
    *of(handler, "base_path", "", "api", "api/copilotkit", "https://a.example/api", 3),
    *of(handler, "base_path", "/api?a=b", "/api#a"),
    *of(handler, "mode", None, "", "rest", "AUTO", "single", True, ["auto"]),
    *of(handler, "cors", None, "*", "https://a.example", ["https://a.example"], {}, 1),
    *of(handler, "hooks", {}, [], identify, RuntimeHooks, error=TypeError),
    *of(handler, "playground", *NO_BOOLEANS),
]  # fmt: skip


@pytest.mark.requirement("CONFIG-01")
@pytest.mark.parametrize(("names", "make", "error"), CASES)
def test_runtime_options_that_are_invalid_are_refused(names: str, make: Callable[[], Any], error: Any) -> None:
    with pytest.raises(error) as raised:
        make()
    said = str(raised.value)
    # An agent is one of the agents.
    assert names.removesuffix("s") in said, f"names the setting: {said!r}"
    assert INSTEAD.search(said), f"says what to write instead: {said!r}"


# --- adapters ------------------------------------------------------------------------


async def other_app(scope: Any, receive: Any, send: Any) -> None:
    pass


def mounted(**options: Any) -> Any:
    return CopilotMiddleware(other_app, path="/api", **options)


APPS = [create_copilot_asgi_app, create_copilot_wsgi_app, mounted]


@pytest.mark.parametrize("create", APPS)
def test_handler_or_runtime_is_required(create: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match=r"runtime=.*handler="):
        create()
    with pytest.raises(TypeError, match=r"runtime=.*handler="):
        create(runtime=None, handler=None)


@pytest.mark.parametrize("create", APPS)
def test_handler_and_runtime_together_are_refused(create: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match=r"runtime=.*handler="):
        create(runtime=runtime(), handler=handler())


@pytest.mark.parametrize("create", APPS)
@pytest.mark.parametrize("option", [{"mode": "auto"}, {"cors": True}, {"hooks": RuntimeHooks()}, {"cors": False}])
def test_handler_with_options_is_refused(create: Callable[..., Any], option: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=r"runtime=.*handler="):
        create(handler=handler(), **option)


@pytest.mark.requirement("CONFIG-01")
@pytest.mark.parametrize("create", APPS)
def test_unknown_option_is_refused(create: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match="basepath"):
        create(runtime=runtime(), basepath="/api")


@pytest.mark.parametrize("create", APPS)
def test_runtime_option_passed_to_the_handler_is_refused(create: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match="debug"):
        create(runtime=runtime(), debug=True)


@pytest.mark.requirement("CONFIG-01")
@pytest.mark.parametrize("create", APPS)
def test_handler_options_base_path_mode_cors_hooks_that_are_invalid_are_refused(create: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match="mode"):
        create(runtime=runtime(), mode="rest")
    with pytest.raises(TypeError, match="cors"):
        create(runtime=runtime(), cors="*")


@pytest.mark.parametrize("create", APPS)
@pytest.mark.parametrize("wrong", [3, {"default": agent}, "runtime"])
def test_runtime_must_be_a_copilot_runtime(create: Callable[..., Any], wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"runtime.*CopilotRuntime"):
        create(runtime=wrong)


def with_handler(create: Callable[..., Any]) -> Callable[[Any], Any]:
    return lambda wrong: create(handler=wrong)


@pytest.mark.parametrize(
    "make",
    [to_asgi, to_wsgi, copilot_endpoint, *map(with_handler, APPS)],
    ids=["to_asgi", "to_wsgi", "copilot_endpoint", "asgi", "wsgi", "CopilotMiddleware"],
)
@pytest.mark.parametrize("wrong", ["runtime", "nothing"])
def test_handler_must_be_a_handler(make: Callable[[Any], Any], wrong: str) -> None:
    """A runtime in the place of its handler, most of all."""
    given = runtime() if wrong == "runtime" else 3
    with pytest.raises(TypeError, match=r"handler.*create_copilot_runtime_handler"):
        make(given)


@pytest.mark.parametrize("path", ["api", "https://a.example/api", None])
def test_copilot_middleware_refuses_invalid_paths(path: Any) -> None:
    with pytest.raises(WRONG, match="path"):
        CopilotMiddleware(other_app, path=path, runtime=runtime())
    with pytest.raises(WRONG, match="path"):
        CopilotMiddleware(other_app, path=path, handler=handler())


# --- what is right stays right -------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"agents": {"a": agent, "größe": Agent()}},
        {"agents": lambda ctx: {}},
        {"store": "memory://"},
        {"store": MemoryStore(max_threads=0, max_runs_per_thread=0, max_bytes=0)},
        {"single_user": True, "thread_access": "read"},
        {"identify_user": identify, "thread_access": "manage"},
        {"thread_access": "none"},
        {"max_body_bytes": 1, "max_streams": 1},
        {"input_limits": InputLimits(max_messages=1)},
        {
            "sse_keep_alive_seconds": 0.5,
            "send_timeout_seconds": 1,
            "run_timeout_seconds": 0.5,
            "stop_grace_seconds": 0,
            "shutdown_grace_seconds": 0,
        },
        {"max_streams": None, "run_timeout_seconds": None, "send_timeout_seconds": None},
        {"max_runs": None, "max_runs_per_user": None, "max_runs_bytes": None, "max_agent_threads": None},
        {"max_runs": 1, "max_runs_per_user": 2, "max_agent_threads": 1},
        {"forward_headers": ForwardHeaders(allow=["x-a"], deny=("x-b",), deny_prefixes=[])},
    ],
    ids=stable_id,
)
def test_runtime_options_that_are_valid_are_accepted(options: dict[str, Any]) -> None:
    assert runtime(**options)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"allow_origins": "https://a.example"},
        {"allow_origins": "http://localhost:3000", "allow_credentials": True},
        {"allow_origins": ["https://a.example", "http://[::1]:3000"], "allow_credentials": True},
        {"allow_origins": "*"},
        {"allow_origins": ["https://a.example", "*"]},
        {"allow_origins": [], "allow_credentials": True},
        {"allow_origins": lambda origin: None, "allow_credentials": True},
        {"allow_methods": ["GET"], "allow_headers": [], "expose_headers": ["x-a"], "max_age": 0},
    ],
    ids=stable_id,
)
def test_cors_options_that_are_valid_are_accepted(options: dict[str, Any]) -> None:
    assert handler(cors=CorsConfig(**options))


@pytest.mark.requirement("ROUTE-01")
@pytest.mark.parametrize("base_path", [None, "/", "/api", "/api/", "/größe", "/two words", "/a%20b"])
def test_base_path_is_normalized(base_path: str | None) -> None:
    assert handler(base_path=base_path)
