"""Building blocks for adapters, which connect a web framework to a `CopilotHandler`.

An adapter builds a `copilot_runtime.Request` from the framework's request, calls the handler, and sends the
`copilot_runtime.Response`: by ``await handler(request)`` on an event loop, by ``run_sync(handler(request))`` on a
worker thread. An adapter whose framework has contexts to enter around code that outlives its requests passes a
`FrameworkContext`.
"""

from ._concurrency.driver import run_sync
from ._concurrency.first_step import FirstStep, awaited
from ._concurrency.framework import FrameworkContext, FrameworkScope
from ._concurrency.lifecycle import end_process_runs
from ._concurrency.server_shutdown import note_gunicorn_worker, note_quick_shutdown
from ._http.body import RequestBody, UnreadableBody
from ._http.body_limits import BodyLimits
from ._http.body_readers import AsyncBody, SyncBody, read_chunks
from ._http.encoded_headers import decode_headers
from ._http.environ import environ_headers
from ._http.form import make_form_parts
from ._http.kept_results import KeptResults
from ._http.stream_iterators import AsyncStreamIterator, wait_for_start
from ._http.stream_source import StreamSource
from ._http.target import split_raw_target
from ._playground import not_for_production
from ._server.errors import SHUTTING_DOWN
from ._server.handlers import HandlerOptions, build_handler, coerce_handler, ensure_handler
from ._server.request_socket import DRAIN_BYTES, drain_socket, limit_socket_wait, may_have_body
from ._server.response_body import begin_response, response_stream, wsgi_body
from ._server.wsgi_checks import WSGIDeploymentChecks

__all__ = [
    "DRAIN_BYTES",
    "SHUTTING_DOWN",
    "AsyncBody",
    "AsyncStreamIterator",
    "BodyLimits",
    "FirstStep",
    "FrameworkContext",
    "FrameworkScope",
    "HandlerOptions",
    "KeptResults",
    "RequestBody",
    "StreamSource",
    "SyncBody",
    "UnreadableBody",
    "WSGIDeploymentChecks",
    "awaited",
    "begin_response",
    "build_handler",
    "coerce_handler",
    "decode_headers",
    "drain_socket",
    "end_process_runs",
    "ensure_handler",
    "environ_headers",
    "limit_socket_wait",
    "make_form_parts",
    "may_have_body",
    "not_for_production",
    "note_gunicorn_worker",
    "note_quick_shutdown",
    "read_chunks",
    "response_stream",
    "run_sync",
    "split_raw_target",
    "wait_for_start",
    "wsgi_body",
]
