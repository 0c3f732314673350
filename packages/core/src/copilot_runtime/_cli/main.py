"""The command line: ``copilot-runtime demo`` and ``copilot-runtime serve``."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import inspect
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from .trusted_hosts import parse_host

if TYPE_CHECKING:
    from .._http.cors import CorsConfig
    from .._server.runtime import CopilotRuntime
    from .trusted_hosts import App

# Import names, and what the packages are called that the extra `cli` brings.
_SERVED_BY = {"uvicorn": "uvicorn", "copilot_runtime_asgi": "copilot-runtime-asgi"}
_MODES = ("auto", "multi-route", "single-route")


class CommandError(Exception):
    """What was asked for cannot be done; its text is a sentence for the person who asked."""

    def __init__(self, sentence: str, exit_code: int = 2) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; gives the exit code: 0, 1 (could not start) or 2 (asked for wrongly).

    ``arguments`` are those after the program's name, by default the process's own.
    """
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=options.log_level, format="%(levelname)s %(name)s: %(message)s")
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except CommandError as error:
        print(f"copilot-runtime: {error}", file=sys.stderr)
        return error.exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="copilot-runtime", description="A CopilotKit runtime in Python.")
    commands = parser.add_subparsers(required=True, metavar="command")

    demo = commands.add_parser("demo", help="a page to chat in, with agents that need no key and no network")
    demo.set_defaults(command=_demo, log_level=logging.WARNING)

    serve = commands.add_parser("serve", help="serve a CopilotRuntime of yours")
    serve.set_defaults(command=_serve, log_level=logging.INFO)
    serve.add_argument("target", metavar="module:attribute", help="a CopilotRuntime, or a function that makes one")
    serve.add_argument("--base-path", default="/api/copilotkit", help="the path to serve under (default: %(default)s)")
    serve.add_argument("--mode", choices=_MODES, default="auto", help="which requests to take (default: %(default)s)")
    serve.add_argument(
        "--cors",
        metavar="ORIGIN",
        nargs="+",
        action="extend",
        default=[],
        help="sites whose pages may use the runtime, such as https://app.example, or * for all",
    )

    for command in (demo, serve):
        command.add_argument("--host", type=_host, default="127.0.0.1", help="address to bind (default: %(default)s)")
        command.add_argument("--port", type=_port, default=8000, help="0 takes a free one (default: %(default)s)")
        command.add_argument(
            "--allow-host",
            metavar="NAME",
            type=_host,
            nargs="+",
            action="extend",
            default=[],
            help="further names under which the server is reached; others are refused (DNS rebinding)",
        )
    return parser


def _host(text: str) -> str:
    try:
        return parse_host(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: write a number from 0 to 65535")
    return int(text)


def _demo(options: argparse.Namespace) -> int:
    with _server_installed():
        from .demo.app import BASE_PATH, create_demo_app
    greeting = f"The demo is at {{url}}/ and its runtime at {{url}}{BASE_PATH}\nCtrl+C ends it."
    return _run(create_demo_app(), options, greeting)


def _serve(options: argparse.Namespace) -> int:
    with _server_installed():
        from copilot_runtime_asgi import create_copilot_asgi_app
    runtime = _load(options.target)
    try:
        app = create_copilot_asgi_app(
            runtime=runtime, base_path=options.base_path, mode=options.mode, cors=_cors(options.cors)
        )
    except (TypeError, ValueError) as error:
        raise CommandError(str(error)) from error
    greeting = f"The runtime is at {{url}}/{options.base_path.strip('/')}\nCtrl+C ends it."
    return _run(app, options, greeting)


def _run(app: App, options: argparse.Namespace, greeting: str) -> int:
    with _server_installed():
        from .dev_server import BindError, serve
    try:
        started = serve(
            app,
            host=options.host,
            port=options.port,
            allow_hosts=options.allow_host,
            greeting=greeting,
        )
    except BindError as error:
        raise CommandError(str(error), exit_code=1) from error
    return 0 if started else 1


@contextlib.contextmanager
def _server_installed() -> Iterator[None]:
    """Explains that the server's packages are missing; any other failed import is not ours to explain."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name not in _SERVED_BY:
            raise
        sentence = f"{_SERVED_BY[error.name]} is not installed. Run: pip install 'copilot-runtime[cli]'"
        raise CommandError(sentence) from error


def _cors(origins: Sequence[str]) -> bool | CorsConfig:
    from .._http.cors import CorsConfig

    if "*" in origins:
        if len(origins) > 1:
            raise CommandError("--cors takes either * or a list of origins, not both.")
        return True
    return CorsConfig(origin=tuple(origins)) if origins else False


def _load(target: str) -> CopilotRuntime:
    from .._server.runtime import CopilotRuntime

    module_name, _, attribute = target.partition(":")
    if not module_name or not attribute:
        raise CommandError(f"{target!r} does not say what to serve: write module:attribute, such as app:runtime.")
    # An installed script does not have the current folder on its path; `python -m` does.
    sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        # A module of theirs that imports something missing deserves its traceback.
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise CommandError(f"There is no module {error.name!r}, neither installed nor in {os.getcwd()}.") from error
    found: object = module
    for name in attribute.split("."):
        if not hasattr(found, name):
            raise CommandError(f"{module_name} has no {attribute!r}.")
        found = getattr(found, name)
    if callable(found) and _takes_no_arguments(found):
        found = found()
    if not isinstance(found, CopilotRuntime):
        sentence = f"{target} is not a CopilotRuntime, nor a plain function without arguments that gives one"
        raise CommandError(f"{sentence}, but {type(found).__name__}.")
    return found


def _takes_no_arguments(function: Callable[..., object]) -> bool:
    try:
        inspect.signature(function).bind()
    except (TypeError, ValueError):
        return False
    return not inspect.iscoroutinefunction(function)
