"""The routes: a row each, from which routing, 405s, the envelope and dispatch follow.

Their order is that of recognition, which matters where patterns overlap.
"""

from __future__ import annotations

from ..route_table import Row, Table
from . import inspector, threads
from .context import Call, refusal
from .info import info
from .run import connect, run, suggest
from .stop import stop
from .transcribe import transcribe

ROUTES = Table(
    (
        Row(pattern="/info", methods={"GET": "info"}, endpoint=info, envelope="info"),
        Row(
            pattern="/inspector-metadata",
            methods={"GET": "inspector/metadata"},
            endpoint=inspector.metadata,
            envelope="inspector/metadata",
        ),
        Row(
            pattern="/inspector-learning",
            methods={"GET": "inspector/learning"},
            endpoint=inspector.learning,
            envelope="inspector/learning",
        ),
        Row(
            pattern="/transcribe",
            methods={"POST": "transcribe"},
            endpoint=transcribe,
            envelope="transcribe",
            envelope_body="required",
        ),
        Row(pattern="/cpk-debug-events", methods={"GET": "cpk-debug-events"}, endpoint=inspector.debug_events),
        Row(
            pattern="/agent/{agent_id}/run",
            methods={"POST": "agent/run"},
            endpoint=run,
            envelope="agent/run",
            envelope_body="required",
        ),
        Row(
            pattern="/agent/{agent_id}/connect",
            methods={"POST": "agent/connect"},
            endpoint=connect,
            envelope="agent/connect",
            envelope_body="required",
        ),
        Row(
            pattern="/agent/{agent_id}/suggest",
            methods={"POST": "agent/suggest"},
            endpoint=suggest,
            envelope="agent/suggest",
            envelope_body="required",
        ),
        Row(
            pattern="/agent/{agent_id}/stop/{thread_id}",
            methods={"POST": "agent/stop"},
            endpoint=stop,
            envelope="agent/stop",
            envelope_body="optional",
        ),
        Row(
            pattern="/threads/subscribe",
            methods={"POST": "threads/subscribe"},
            endpoint=threads.not_offered,
            resource=True,
        ),
        Row(
            pattern="/threads/{thread_id}/messages",
            methods={"GET": "threads/messages"},
            endpoint=threads.messages,
            resource=True,
        ),
        Row(
            pattern="/threads/{thread_id}/events",
            methods={"GET": "threads/events"},
            endpoint=threads.events,
            resource=True,
        ),
        Row(
            pattern="/threads/{thread_id}/state",
            methods={"GET": "threads/state"},
            endpoint=threads.state,
            resource=True,
        ),
        Row(
            pattern="/threads/{thread_id}/archive",
            methods={"POST": "threads/archive"},
            endpoint=threads.archive,
            resource=True,
        ),
        Row(pattern="/threads/clear", methods={"POST": "threads/clear"}, endpoint=threads.clear, resource=True),
        Row(
            pattern="/threads/{thread_id}",
            methods={"PATCH": "threads/update", "DELETE": "threads/update"},
            endpoint=threads.update,
            resource=True,
        ),
        Row(pattern="/threads", methods={"GET": "threads/list"}, endpoint=threads.listed, resource=True),
        Row(
            pattern="/memories/recall",
            methods={"POST": "memories/recall"},
            endpoint=threads.not_offered,
            resource=True,
            memories=True,
        ),
        Row(
            pattern="/memories/subscribe",
            methods={"POST": "memories/subscribe"},
            endpoint=threads.not_offered,
            resource=True,
            memories=True,
        ),
        Row(
            pattern="/memories/{memory_id}",
            methods={"PATCH": "memories/mutate", "DELETE": "memories/mutate"},
            endpoint=threads.not_offered,
            resource=True,
            memories=True,
        ),
        Row(
            pattern="/memories",
            methods={"GET": "memories/list", "POST": "memories/list"},
            endpoint=threads.not_offered,
            resource=True,
            memories=True,
        ),
        Row(pattern="/annotate", methods={"POST": "annotate"}, endpoint=threads.not_offered, resource=True),
    )
)

__all__ = ["ROUTES", "Call", "refusal"]
