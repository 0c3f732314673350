"""Restarts a server in a process of its own whenever a Python file of the current folder changes.

Imported only when a command needs it, because uvicorn is not a dependency of the core.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

import uvicorn
from uvicorn.supervisors import ChangeReload


def run_with_reload(worker: Callable[[list[socket.socket] | None], None], listener: socket.socket) -> None:
    """Runs ``worker`` in a new process after each change, until it is interrupted.

    Args:
        worker: serves on the sockets that it is called with. It is pickled, so it must be a function of a module.
        listener: the socket on which the server listens; it stays open from one process to the next.
    """
    # The configuration is the reloader's own: the worker makes another one for its server.
    config = uvicorn.Config("", log_config=None, reload=True, reload_dirs=[os.getcwd()])
    ChangeReload(config, target=worker, sockets=[listener]).run()
