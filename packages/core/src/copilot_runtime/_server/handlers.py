"""Creates handlers: `create_copilot_runtime_handler`, and what adapters are called with."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict, get_args

from .._http.cors import CorsConfig
from .._http.target import normalize_base_path
from .._lazy_exports import LazyModule
from .._validation import check_bool, check_choice
from .handler import CopilotHandler
from .hooks import RuntimeHooks
from .router import Mode, Router
from .runtime import CopilotRuntime

if TYPE_CHECKING:
    from .._playground import page as playground_page
else:
    playground_page = LazyModule(".._playground.page", __package__)


class HandlerOptions(TypedDict, total=False):
    """Options of `create_copilot_runtime_handler`, which adapters accept as ``**options: Unpack[HandlerOptions]``."""

    base_path: str | None
    mode: Mode
    cors: bool | CorsConfig
    hooks: RuntimeHooks | None
    playground: bool


def ensure_handler(handler: object) -> CopilotHandler:
    """Returns the handler that an adapter was called with. Raises TypeError for anything else."""
    if not isinstance(handler, CopilotHandler):
        raise TypeError(f"handler must be created by create_copilot_runtime_handler(), got {handler!r}")
    return handler


def coerce_handler(source: object) -> CopilotHandler:
    """Returns the handler of an object that an application's configuration names: a runtime or a handler.

    Raises TypeError for anything else.
    """
    if isinstance(source, CopilotHandler):
        return source
    if isinstance(source, CopilotRuntime):
        return create_copilot_runtime_handler(runtime=source)
    raise TypeError(f"expected a CopilotRuntime or a CopilotHandler, got {type(source).__name__}")


def build_handler(
    *, runtime: CopilotRuntime | None, handler: CopilotHandler | None, options: HandlerOptions
) -> CopilotHandler:
    """Returns the handler that an adapter was called with, or one for the runtime that it was called with.

    Args:
        runtime: the runtime, if there is no handler.
        handler: the handler, if there is no runtime.
        options: of `create_copilot_runtime_handler`, for a runtime.

    Raises:
        TypeError: there are both, neither, or options beside a handler; or one of them is of the wrong type.
        ValueError: an option has a value that cannot work.
    """
    if (runtime is None) == (handler is None) or (handler is not None and options):
        raise TypeError("use either runtime=..., with options, or a ready handler=... alone")
    if runtime is None:
        return ensure_handler(handler)
    return create_copilot_runtime_handler(runtime=runtime, **options)


def create_copilot_runtime_handler(
    *,
    runtime: CopilotRuntime,
    base_path: str | None = None,
    mode: Mode = "auto",
    cors: bool | CorsConfig = False,
    hooks: RuntimeHooks | None = None,
    playground: bool = False,
) -> CopilotHandler:
    """Returns a runtime as a coroutine function from a `Request` to a `Response`.

    Args:
        runtime: the runtime.
        base_path: the path at which the runtime is mounted; None for wherever the server has mounted it, or anywhere.
        mode: ``multi-route`` (REST paths), ``single-route`` (an envelope POSTed to the base path), or ``auto``, which
            is both.
        cors: False for no CORS headers, True for any origin without credentials, or a `CorsConfig`.
        hooks: functions to call around every request.
        playground: whether to serve a page to try the agents at ``{base_path}/playground/``. For development: hooks and
            ``identify_user`` are not called for its files, only for what the page requests.

    Raises:
        ValueError: an option has a value that cannot work.
        TypeError: an option has a value of the wrong type.
    """
    if not isinstance(runtime, CopilotRuntime):
        raise TypeError(f"runtime={runtime!r}: must be a CopilotRuntime, such as CopilotRuntime(agents=...)")
    check_choice("mode", mode, get_args(Mode))
    if not isinstance(cors, (bool, CorsConfig)):
        raise TypeError(f"cors={cors!r}: must be False, True or a CorsConfig, such as CorsConfig(allow_origins=[...])")
    if hooks is not None and not isinstance(hooks, RuntimeHooks):
        raise TypeError(f"hooks={hooks!r}: must be a RuntimeHooks, such as RuntimeHooks(on_request=...)")
    check_bool("playground", playground)
    mount = normalize_base_path(base_path)
    kind = CopilotHandler if runtime.telemetry is None else _traced_handler()
    return kind(
        runtime=runtime,
        router=Router(
            mode=mode,
            base_path=mount,
            expose_memory_routes=runtime.expose_memory_routes,
        ),
        cors=(CorsConfig() if cors else None) if isinstance(cors, bool) else cors,
        hooks=hooks or RuntimeHooks(),
        playground=playground_page.Playground(mount) if playground else None,
    )


def _traced_handler() -> type[CopilotHandler]:
    from .traced_handler import TracedHandler  # which few processes need

    return TracedHandler
