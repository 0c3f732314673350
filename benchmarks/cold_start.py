"""Cold start (W0): from the start of a server's process to its first ``/info``, and to the end of its first run."""

from __future__ import annotations

import http.client
import json
import sys
import time
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from . import shared
from .shared import Rows


def measure(config: Path, servers: Collection[str], rounds: int) -> dict[str, Rows]:
    """Starts servers alternately and returns their figures.

    ``wall_s`` and ``cpu_s`` are those of the shared benchmark's W0, until the first answer; ``first_run_s`` adds the
    first run.

    Args:
        config: the TOML file of the servers that are not the benchmark's own.
        servers: their names, and those of the benchmark's own servers.
        rounds: how often to start each server.
    """
    started = _servers(config, servers)
    for server in started.values():
        _start(server)  # fills the bytecode cache
    rows: dict[str, list[Mapping[str, Any]]] = {name: [] for name in started}
    order = list(started)
    for turn in range(rounds):
        shift = turn % len(order)
        for name in order[shift:] + order[:shift]:
            rows[name].append({"turn": turn, **_start(started[name])})
        print(f"# W0 turn {turn + 1}/{rounds} done", file=sys.stderr, flush=True)
    return {**rows}


def _servers(config: Path, names: Collection[str]) -> dict[str, Any]:
    bench = shared.module()
    texts = ((shared.FOLDER / "servers.toml").read_text("utf-8"), config.read_text("utf-8"))
    specifications = {name: table for text in texts for name, table in tomllib.loads(text).items()}
    return {name: bench.Server(name, specifications[name]) for name in names}


def _start(server: Any) -> dict[str, float]:
    """Starts a server, has it run an agent once, and stops it."""
    try:
        figures: dict[str, float] = server.start()
        return {**figures, "first_run_s": figures["wall_s"] + _seconds_of_run(server)}
    finally:
        server.stop()


def _seconds_of_run(server: Any) -> float:
    workload = shared.module().WORKLOADS["W3"]
    path = server.base + server.run_path.replace("{agent}", workload["agent"])
    body = {
        "threadId": "first-thread",
        "runId": "first-run",
        "messages": [{"id": "first-message", "role": "user", "content": "hi"}],
        "state": {},
        "tools": [],
        "context": [],
        "forwardedProps": workload["fp"],
    }
    began = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    try:
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        stream = connection.getresponse().read()
    finally:
        connection.close()
    if b'"RUN_FINISHED"' not in stream:
        raise RuntimeError(f"{server.name}: the first run did not finish: {stream[-400:]!r}")
    return time.monotonic() - began
