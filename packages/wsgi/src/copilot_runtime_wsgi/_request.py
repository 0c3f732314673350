"""What a WSGI environ (PEP 3333) says, as a `Request`."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from typing import Any

from werkzeug.wsgi import get_input_stream

from copilot_runtime import (
    Headers,
    Request,
    read_body,
    split_raw_target,
)

Environ = dict[str, Any]


def request_from_environ(environ: Environ, body: bytes, mount_path: str = "", **members: Any) -> Request:
    """A request for the core.

    ``mounted`` is the part of ``PATH_INFO``, decoded, under which a framework has mounted
    the runtime below ``SCRIPT_NAME``. ``members`` are further members of `Request`.
    """
    # These strings are bytes, decoded as latin-1.
    script = environ.get("SCRIPT_NAME", "").encode("latin-1")
    path, mount = split_raw_target(
        environ.get("RAW_URI") or environ.get("REQUEST_URI"),
        script + environ.get("PATH_INFO", "").encode("latin-1"),
        script + mount_path.encode(),
    )
    return Request(
        method=environ["REQUEST_METHOD"],
        path=path,
        root_path=mount,
        query_string=environ.get("QUERY_STRING", ""),
        headers=Headers(_headers(environ)),
        body=body,
        **{"native": environ, **members},
    )


def read_environ_body(environ: Environ, limit: int) -> bytes:
    """At most ``limit`` bytes of the body, which whoever reads the input next finds again.

    Raises werkzeug's ClientDisconnected where the client has left.
    """
    body = read_body(get_input_stream(environ).read, limit)
    environ["wsgi.input"] = BytesIO(body)
    environ["wsgi.input_terminated"] = True
    return body


def _headers(environ: Environ) -> Iterator[tuple[str, str]]:
    for name, value in environ.items():
        if name.startswith("HTTP_"):
            yield name[5:].replace("_", "-").lower(), value
        elif name in ("CONTENT_TYPE", "CONTENT_LENGTH") and value:
            yield name.replace("_", "-").lower(), value
