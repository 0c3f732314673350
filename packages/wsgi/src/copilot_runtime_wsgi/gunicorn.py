"""gunicorn's server hooks, for its configuration file: ``from copilot_runtime_wsgi.gunicorn import *``.

A file that has hooks of its own calls these in them. They work with every worker, also with those for ASGI.
"""

from __future__ import annotations

import os
from typing import Any

from copilot_runtime.adapters import end_process_runs, note_gunicorn_worker, note_quick_shutdown

__all__ = ["post_worker_init", "worker_exit", "worker_int"]


def post_worker_init(worker: Any) -> None:
    """Has runtimes see when the worker begins to shut down, also where it does not handle signals itself."""
    note_gunicorn_worker(worker)


def worker_int(worker: Any) -> None:
    """Has runs end at once: SIGINT or SIGQUIT means that nobody wants to wait for them."""
    note_quick_shutdown()


def worker_exit(server: Any, worker: Any) -> None:
    """Ends the runs of a worker that no longer serves requests, within the grace that they have."""
    # The main process calls it too, for workers that have died.
    if worker.pid == os.getpid():
        end_process_runs()
