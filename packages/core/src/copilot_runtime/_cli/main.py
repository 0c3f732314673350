"""The command line: ``copilot-runtime demo``, ``serve``, ``doctor``, ``migrate`` and ``copy-threads``."""

from __future__ import annotations

import argparse
import contextlib
import functools
import logging
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from .._version import __version__
from .doctor.arguments import add_doctor
from .errors import CommandError
from .init.arguments import add_init
from .trusted_hosts import parse_host

if TYPE_CHECKING:
    from copilot_runtime_asgi._asgi_types import ASGIApp

    from .._http.cors import CorsConfig

# The packages of the extra `cli`: import names and distribution names.
_SERVER_PACKAGES = {"uvicorn": "uvicorn", "copilot_runtime_asgi": "copilot-runtime-asgi"}
_MODES = ("auto", "multi-route", "single-route")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        arguments: the arguments after the program's name; by default those of this process.

    Returns:
        The exit code: 0, 1 (the server could not start, files are not written, threads are not copied, or something is
        wrong with what ``doctor`` looked at) or 2 (usage error).
    """
    options = _parser().parse_args(arguments)
    return _execute(options)


def _execute(options: argparse.Namespace) -> int:
    _configure_logging(options)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except CommandError as error:
        print(f"copilot-runtime: {error}", file=sys.stderr)
        return error.exit_code


def _configure_logging(options: argparse.Namespace) -> None:
    if options.log_format == "text":
        logging.basicConfig(level=options.log_level, format="%(levelname)s %(name)s: %(message)s")
        return
    from ..log_format import JSONFormatter

    handler = logging.StreamHandler()
    handler.setFormatter(JSONFormatter())
    logging.basicConfig(level=options.log_level, handlers=[handler])
    logging.captureWarnings(True)  # which Python would write as lines of text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="copilot-runtime", description="A CopilotKit runtime in Python.")
    parser.set_defaults(log_format="text")
    _add_version(parser)
    commands = parser.add_subparsers(required=True, metavar="command")

    demo = commands.add_parser("demo", help="the playground with demo agents that need no API key and no network")
    demo.set_defaults(command=_demo, log_level=logging.WARNING)

    serve = commands.add_parser("serve", help="serve your own CopilotRuntime")
    serve.set_defaults(command=_serve, log_level=logging.INFO)
    serve.add_argument("target", metavar="module:attribute", help="a CopilotRuntime, or a function that returns one")
    serve.add_argument("--base-path", default="/api/copilotkit", help="path of the runtime (default: %(default)s)")
    serve.add_argument("--mode", choices=_MODES, default="auto", help="routes to serve (default: %(default)s)")
    serve.add_argument(
        "--cors",
        metavar="ORIGIN",
        nargs="+",
        action="extend",
        default=[],
        help="origins whose pages may use the runtime, such as https://app.example, or * for any",
    )

    serve.add_argument(
        "--log-format",
        choices=("text", "json"),
        default="text",
        help="how lines are logged; json has the fields of each line, such as those of a run (default: %(default)s)",
    )
    serve.add_argument("--reload", action="store_true", help="restart when a Python file of the current folder changes")

    _add_version(add_init(commands))
    _add_version(add_doctor(commands))

    migrate = commands.add_parser(
        "migrate",
        help="create the tables of a store, or bring them up to date",
        description="Creates the tables of a store, or brings them up to date, in one transaction. Processes that use "
        "them may go on meanwhile.",
    )
    migrate.set_defaults(command=_migrate, log_level=logging.WARNING)
    _add_version(migrate)
    migrate.add_argument("store", metavar="URL", help="URL of the store")

    copy_threads = commands.add_parser(
        "copy-threads",
        help="copy all threads from one store to another",
        description="Copies the threads of all users, with their runs and messages. It can be repeated: what TO has "
        "already is left alone, and threads that were continued in FROM meanwhile are copied again.",
    )
    copy_threads.set_defaults(command=_copy_threads, log_level=logging.WARNING)
    _add_version(copy_threads)
    copy_threads.add_argument("source", metavar="FROM", help="URL of the store with the threads, which is not changed")
    copy_threads.add_argument("target", metavar="TO", help="URL of the store to copy them to")

    for command in (demo, serve):
        _add_version(command)
        command.add_argument("--host", type=_host, default="127.0.0.1", help="address to bind (default: %(default)s)")
        command.add_argument("--port", type=_port, default=8000, help="port; 0 picks a free one (default: %(default)s)")
        command.add_argument(
            "--allow-host",
            metavar="NAME",
            type=_host,
            nargs="+",
            action="extend",
            default=[],
            help="more host names of this server; requests for other hosts are rejected (DNS rebinding)",
        )
    return parser


def _add_version(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--version", action="version", version=f"copilot-runtime {__version__}")


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
    with _explain_missing_package():
        from .demo.app import BASE_PATH, create_demo_app
    greeting = f"The demo is at {{url}}/ and its runtime at {{url}}{BASE_PATH}\nPress Ctrl+C to stop."
    return _run(create_demo_app(), options, greeting)


def _serve(options: argparse.Namespace) -> int:
    return _serve_with_reload(options) if options.reload else _serve_once(options)


def _serve_once(options: argparse.Namespace, listener: socket.socket | None = None) -> int:
    with _explain_missing_package():
        from .front_page import playground_path
        from .serve_app import create_serve_app
    from .targets import TargetError, load_runtime

    try:
        runtime = load_runtime(options.target)
    except TargetError as error:
        raise CommandError(str(error)) from error
    try:
        app = create_serve_app(runtime, options.base_path, options.mode, _cors(options.cors))
    except (TypeError, ValueError) as error:
        raise CommandError(str(error)) from error
    greeting = (
        f"The runtime is at {{url}}/{options.base_path.strip('/')}\n"
        f"Its playground is at {{url}}{playground_path(options.base_path)}\n"
        "Press Ctrl+C to stop."
    )
    return _run(app, options, greeting, listener)


def _serve_with_reload(options: argparse.Namespace) -> int:
    with _explain_missing_package():
        from .dev_server import BindError, listen
        from .reloader import run_with_reload
    try:
        listener = listen(options.host, options.port)
    except BindError as error:
        raise CommandError(str(error), exit_code=1) from error
    run_with_reload(functools.partial(_serve_in_child, options), listener)
    return 0


def _serve_in_child(options: argparse.Namespace, sockets: list[socket.socket]) -> None:
    """Serves in a process of the reloader, until that ends the process."""
    options.command = functools.partial(_serve_once, listener=sockets[0])
    if _execute(options):
        print("Waiting for a change.", file=sys.stderr)


def _run(app: ASGIApp, options: argparse.Namespace, greeting: str, listener: socket.socket | None = None) -> int:
    with _explain_missing_package():
        from .dev_server import BindError, serve
    try:
        has_started = serve(
            app,
            host=options.host,
            port=options.port,
            allow_hosts=options.allow_host,
            greeting=greeting,
            listener=listener,
        )
    except BindError as error:
        raise CommandError(str(error), exit_code=1) from error
    return 0 if has_started else 1


def _migrate(options: argparse.Namespace) -> int:
    from .migrate import migrate

    return migrate(options)


def _copy_threads(options: argparse.Namespace) -> int:
    from .copy_threads import copy_threads

    return copy_threads(options)


@contextlib.contextmanager
def _explain_missing_package() -> Iterator[None]:
    """Turns a failed import of a package of the extra `cli` into a message for the user."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name not in _SERVER_PACKAGES:
            raise
        message = f"{_SERVER_PACKAGES[error.name]} is not installed. Run: pip install 'copilot-runtime[cli]'"
        raise CommandError(message) from error


def _cors(origins: Sequence[str]) -> bool | CorsConfig:
    from .._http.cors import CorsConfig

    if "*" in origins:
        if len(origins) > 1:
            raise CommandError("--cors takes either * or a list of origins, not both.")
        return True
    return CorsConfig(allow_origins=tuple(origins)) if origins else False
