"""The routes: a row each, from which routing, 405s, the envelope and dispatch follow.

Their order is that of recognition, which matters where patterns overlap.
"""

from __future__ import annotations

from ..route_table import (
    Route,
    RouteTable,
)
from . import inspector, threads
from .context import EndpointContext, error_response
from .info import info
from .run import connect, run, suggest
from .stop import stop
from .transcribe import transcribe

ROUTES = RouteTable(
    (
        Route(pattern="/info", methods={"GET": "info"}, endpoint=info, envelope="info"),
        Route(
            pattern="/inspector-metadata",
            methods={"GET": "inspector/metadata"},
            endpoint=inspector.metadata,
            envelope="inspector/metadata",
        ),
        Route(
            pattern="/inspector-learning",
            methods={"GET": "inspector/learning"},
            endpoint=inspector.learning,
            envelope="inspector/learning",
        ),
        Route(
            pattern="/transcribe",
            methods={"POST": "transcribe"},
            endpoint=transcribe,
            envelope="transcribe",
            envelope_body="required",
        ),
        Route(pattern="/cpk-debug-events", methods={"GET": "cpk-debug-events"}, endpoint=inspector.debug_events),
        Route(
            pattern="/agent/{agent_id}/run",
            methods={"POST": "agent/run"},
            endpoint=run,
            envelope="agent/run",
            envelope_body="required",
        ),
        Route(
            pattern="/agent/{agent_id}/connect",
            methods={"POST": "agent/connect"},
            endpoint=connect,
            envelope="agent/connect",
            envelope_body="required",
        ),
        Route(
            pattern="/agent/{agent_id}/suggest",
            methods={"POST": "agent/suggest"},
            endpoint=suggest,
            envelope="agent/suggest",
            envelope_body="required",
        ),
        Route(
            pattern="/agent/{agent_id}/stop/{thread_id}",
            methods={"POST": "agent/stop"},
            endpoint=stop,
            envelope="agent/stop",
            envelope_body="optional",
        ),
        Route(
            pattern="/threads/subscribe",
            methods={"POST": "threads/subscribe"},
            endpoint=threads.not_supported,
            resource=True,
        ),
        Route(
            pattern="/threads/{thread_id}/messages",
            methods={"GET": "threads/messages"},
            endpoint=threads.messages,
            resource=True,
        ),
        Route(
            pattern="/threads/{thread_id}/events",
            methods={"GET": "threads/events"},
            endpoint=threads.events,
            resource=True,
        ),
        Route(
            pattern="/threads/{thread_id}/state",
            methods={"GET": "threads/state"},
            endpoint=threads.state,
            resource=True,
        ),
        Route(
            pattern="/threads/{thread_id}/archive",
            methods={"POST": "threads/archive"},
            endpoint=threads.archive,
            resource=True,
        ),
        Route(pattern="/threads/clear", methods={"POST": "threads/clear"}, endpoint=threads.clear, resource=True),
        Route(
            pattern="/threads/{thread_id}",
            methods={"PATCH": "threads/update", "DELETE": "threads/update"},
            endpoint=threads.update,
            resource=True,
        ),
        Route(pattern="/threads", methods={"GET": "threads/list"}, endpoint=threads.list_threads, resource=True),
        Route(
            pattern="/memories/recall",
            methods={"POST": "memories/recall"},
            endpoint=threads.not_supported,
            resource=True,
            memories=True,
        ),
        Route(
            pattern="/memories/subscribe",
            methods={"POST": "memories/subscribe"},
            endpoint=threads.not_supported,
            resource=True,
            memories=True,
        ),
        Route(
            pattern="/memories/{memory_id}",
            methods={"PATCH": "memories/mutate", "DELETE": "memories/mutate"},
            endpoint=threads.not_supported,
            resource=True,
            memories=True,
        ),
        Route(
            pattern="/memories",
            methods={"GET": "memories/list", "POST": "memories/list"},
            endpoint=threads.not_supported,
            resource=True,
            memories=True,
        ),
        Route(pattern="/annotate", methods={"POST": "annotate"}, endpoint=threads.not_supported, resource=True),
    )
)

__all__ = ["ROUTES", "EndpointContext", "error_response"]
