"""A WSGI environ (PEP 3333) as a `Request`."""

from __future__ import annotations

from typing import Any

from copilot_runtime import FormPart, Headers, Request
from copilot_runtime.adapters import RequestBody, environ_headers, split_raw_target

from ._environ_body import Environ


def environ_target(environ: Environ, mount_path: str = "") -> tuple[str, str]:
    """Returns the path of a request and its root path, percent-encoded.

    Args:
        environ: the WSGI environ.
        mount_path: the decoded part of ``PATH_INFO`` at which a framework has mounted the runtime.
    """
    # WSGI strings are bytes decoded as latin-1.
    script_name = environ.get("SCRIPT_NAME", "").encode("latin-1")
    return split_raw_target(
        environ.get("RAW_URI") or environ.get("REQUEST_URI"),
        script_name + environ.get("PATH_INFO", "").encode("latin-1"),
        script_name + mount_path.encode(),
    )


def request_from_environ(
    environ: Environ,
    body: bytes | RequestBody,
    mount_path: str = "",
    *,
    form: tuple[FormPart, ...] | None = None,
    body_limit: int | None = None,
    native: Any = None,
) -> Request:
    """Returns a request for a `copilot_runtime.CopilotHandler`.

    Args:
        environ: the WSGI environ.
        body: the body, such as `environ_body` returns.
        mount_path: as for `environ_target`.
        form: the parts of a form, if the framework has parsed the body.
        body_limit: the framework's own limit for bodies, in bytes.
        native: the framework's request; the environ by default.

    Raises:
        KeyError: if the environ has no ``REQUEST_METHOD``, which PEP 3333 requires.
    """
    path, root_path = environ_target(environ, mount_path)
    return Request(
        method=environ["REQUEST_METHOD"],
        path=path,
        root_path=root_path,
        query_string=environ.get("QUERY_STRING", ""),
        headers=Headers(environ_headers(environ)),
        body=body,
        form=form,
        body_limit=body_limit,
        native=environ if native is None else native,
    )
