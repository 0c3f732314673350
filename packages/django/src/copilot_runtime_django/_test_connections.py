"""Database connections under Django's test cases, whose data no other connection sees.

`django.test.TestCase` and pytest-django's ``django_db`` run a test inside a transaction that is never committed. Agents
run in worker threads of their own, so they have to use the connections of the test's thread.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from django import db
from django.core import mail
from django.db import connections

Connections = Mapping[str, Any]
"""Database connections by alias."""


def is_test_environment() -> bool:
    """Returns whether a test runner has set up Django's test environment."""
    return hasattr(mail, "outbox")  # as documented: only then is there an outbox


def connections_of_test() -> Connections:
    """Returns the connections of this thread that other threads of the test have to use."""
    if not is_test_environment():
        return {}
    return {
        connection.alias: connection for connection in connections.all(initialized_only=True) if _is_test(connection)
    }


def _is_test(connection: Any) -> bool:
    if connection.connection is None:
        return False
    in_memory = connection.vendor == "sqlite" and connection.is_in_memory_db()
    return in_memory or any(getattr(block, "_from_testcase", False) for block in connection.atomic_blocks)


def close_old_connections() -> None:
    """Closes this thread's connections as Django does after a request, but leaves open those of tests.

    So does Django's test client. Those of an earlier test are still open, and a test that may not use the database must
    not so much as look at them.
    """
    if not is_test_environment():
        db.close_old_connections()


@contextmanager
def shared_connections(shared: Connections) -> Iterator[None]:
    """Uses connections of another thread in this one, as Django's live server does; closes this thread's own."""
    for alias, connection in shared.items():
        connection.inc_thread_sharing()
        connections[alias] = connection
    try:
        yield
    finally:
        for alias, connection in shared.items():
            del connections[alias]
            connection.dec_thread_sharing()
        connections.close_all()
