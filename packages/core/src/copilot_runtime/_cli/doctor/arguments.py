"""The arguments of ``copilot-runtime doctor``."""

from __future__ import annotations

import argparse
import dataclasses
import logging
import math
from typing import Any
from urllib.parse import urlsplit

from ..._http.cors import is_origin
from ..._http.headers import HEADER_NAME
from .options import DEFAULT_MESSAGE, DoctorOptions

_OWN_HEADERS = frozenset(
    (
        "accept",
        "accept-encoding",
        "connection",
        "content-length",
        "content-type",
        "host",
        "origin",
        "transfer-encoding",
        "upgrade",
    )
)
"""What each of the doctor's requests sets itself."""


def add_doctor(commands: Any) -> argparse.ArgumentParser:
    """Adds the command to the parsers of commands."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "doctor",
        help="look at a running runtime as a frontend would, and say what is wrong",
        description="Looks at a running runtime as a frontend would, and says what is right, what is wrong, and "
        "what to write instead. No agent runs unless --agent names one. Exits with 1 if something is wrong.",
    )
    parser.set_defaults(command=_run, log_level=logging.ERROR)
    parser.add_argument(
        "url", metavar="URL", type=_url, help="the runtimeUrl, such as https://app.example/api/copilotkit"
    )
    parser.add_argument(
        "--origin", type=_origin, help="the origin of the pages, if it is another one: https://www.example"
    )
    parser.add_argument(
        "-H",
        "--header",
        dest="headers",
        metavar="HEADER",
        type=_header,
        action="append",
        default=[],
        help="a header that the frontend sends, such as 'Authorization: Bearer ...' (may be repeated)",
    )
    parser.add_argument(
        "--agent",
        help="run this agent once, watch its stream and stop it: this costs what one answer costs, and leaves a thread "
        "unless the runtime lets its callers delete threads",
    )
    parser.add_argument("--message", default=DEFAULT_MESSAGE, help="what to say to the agent (default: %(default)s)")
    parser.add_argument("--json", dest="as_json", action="store_true", help="print the report as JSON")
    parser.add_argument(
        "--timeout",
        dest="timeout_seconds",
        metavar="SECONDS",
        type=_seconds,
        default=10.0,
        help="how long an answer may take (default: %(default)g)",
    )
    parser.add_argument(
        "--watch",
        dest="watch_seconds",
        metavar="SECONDS",
        type=_seconds,
        default=20.0,
        help="how long to wait for a keep-alive while the run is silent (default: %(default)g)",
    )
    return parser


def _run(arguments: argparse.Namespace) -> int:
    from .command import doctor

    names = [field.name for field in dataclasses.fields(DoctorOptions)]
    values = {name: getattr(arguments, name) for name in names}
    return doctor(DoctorOptions(**{**values, "headers": tuple(arguments.headers)}))


def _url(text: str) -> str:
    import httpx2

    try:
        parts = urlsplit(text)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        httpx2.URL(text)
    except (ValueError, httpx2.InvalidURL):
        is_url = False
    if not is_url or not text.isprintable() or " " in text:
        # Without its password and its query, which may be secrets.
        shown = text.rpartition("@")[2].partition("?")[0]
        raise argparse.ArgumentTypeError(
            f"{shown!r} is not a URL: write one such as http://127.0.0.1:8000/api/copilotkit"
        )
    if parts.username is not None or parts.password is not None:
        raise argparse.ArgumentTypeError("browsers send no credentials of a URL: write --header 'Authorization: ...'")
    return parts._replace(query="", fragment="").geturl()


def _origin(text: str) -> str:
    origin = text.removesuffix("/")
    if not is_origin(origin):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not an origin: write a scheme and a host, and a port unless it is the default one, such as "
            "https://www.example"
        )
    # As browsers write it: without the port that the scheme has anyway.
    scheme = origin.partition(":")[0]
    return origin.removesuffix({"http": ":80", "https": ":443"}.get(scheme, "/"))


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    value = value.strip()
    if not colon or not HEADER_NAME.fullmatch(name) or not value.isascii() or not value.isprintable():
        # Without the value, which may be a secret.
        raise argparse.ArgumentTypeError(
            "a header is a name and a value of ASCII characters: 'Authorization: Bearer ...'"
        )
    if name.lower() in _OWN_HEADERS:
        raise argparse.ArgumentTypeError(f"{name} is set for each request: leave it out")
    return name, value


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= 3600:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds: write one from 1 to 3600")
    return seconds
