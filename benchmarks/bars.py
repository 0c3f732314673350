"""What is asked of every server: the most that a figure may be, compared with that of another server.

A bar is changed here and nowhere else.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from operator import sub, truediv

from . import node

FLOORS: Mapping[str, str] = {
    "ours-asgi": "asgi-coal",
    "ours-asgi-model": "asgi-coal",
    "ours-wsgi": "gthread-bridge-batch",
    "ours-flask": "flask-gthread-each",
    "ours-django-wsgi": "django-gthread-each",
    "ours-django-wsgi-bare": "django-gthread-each",
    "ours-django-asgi": "asgi-coal",
    "ours-asgi-sqlite": "ours-asgi",
    "ours-wsgi-sqlite": "ours-wsgi",
}
"""What each of our servers is compared with, next to Node: the bare server, or the same one with threads in memory."""


@dataclasses.dataclass(frozen=True, slots=True)
class Kind:
    """How a figure is compared with that of the other server.

    ``text`` formats the result. ``is_proportional`` is whether a bar is missed by a part of it.
    """

    compare: Callable[[float, float], float]
    text: str
    is_proportional: bool = True


RATIO = Kind(truediv, "{:.3g}x")
EXCESS = Kind(sub, "{:+.3g} ms", is_proportional=False)
ABSOLUTE = Kind(lambda own, _: own, "{:.3g}")


@dataclasses.dataclass(frozen=True, slots=True)
class Figure:
    """A figure of the results: its name there, and the factor to ``unit``."""

    key: str
    title: str
    unit: str
    factor: float = 1.0


CPU = Figure("cpu_us", "CPU", "us")
DELAY = Figure("lat_p99", "delay, p99", "ms", 1e-3)
FIRST_EVENT = Figure("ttfe_p99", "first event, p99", "ms", 1e-3)
MEMORY = Figure("kb", "memory per stream", "KB")
FIRST_INFO = Figure("wall_s", "start to first /info", "ms", 1e3)
FIRST_RUN = Figure("first_run_s", "start to end of first run", "ms", 1e3)
STREAM_ERRORS = Figure("stream_errors", "errors of 10,000 streams", "")
MEMORY_GROWTH = Figure("memory_growth", "memory per stream, 10,000 to 1,000", "")
REPLAY = Figure("replay_us", "CPU of a replay", "us/event")


@dataclasses.dataclass(frozen=True, slots=True)
class Bar:
    """The most that a figure of a server may be: ``limit``, compared with ``other`` by ``kind``."""

    server: str
    workload: str
    figure: Figure
    other: str | None
    limit: float
    kind: Kind = RATIO


_CPU_RATIOS: Mapping[str, Mapping[str, tuple[float | None, float | None]]] = {
    "ours-asgi": {"W1": (1.6, 0.07), "W2": (1.35, 0.32), "W3": (2.2, 0.20), "W4": (1.3, 0.20)},
    "ours-asgi-model": {"W1": (3.5, 0.15), "W2": (1.45, 0.36), "W3": (3.0, 0.26)},
    "ours-wsgi": {"W1": (4.0, 0.07), "W2": (1.15, 0.75), "W3": (1.3, 0.55), "W4": (1.25, None)},
    "ours-flask": {"W1": (0.5, None), "W2": (1.2, None), "W3": (1.3, None), "W4": (1.3, None)},
    "ours-django-wsgi": {"W1": (0.5, None), "W2": (1.2, None), "W3": (1.3, None), "W4": (1.3, None)},
    "ours-django-wsgi-bare": {"W1": (0.5, None), "W2": (1.2, None), "W3": (1.3, None), "W4": (1.3, None)},
    "ours-django-asgi": {"W1": (1.6, 0.07), "W2": (1.35, 0.32), "W3": (2.2, 0.20), "W4": (1.3, 0.20)},
    "ours-asgi-sqlite": {"W2": (1.3, None), "W3": (2.0, None)},
    "ours-wsgi-sqlite": {"W2": (1.2, None), "W3": (1.6, None)},
}
"""CPU time per unit of work, by server and workload: the most it may be to the server's floor, and to Node's."""


def _cpu_bars() -> tuple[Bar, ...]:
    return tuple(
        Bar(server, workload, CPU, other, limit)
        for server, workloads in _CPU_RATIOS.items()
        for workload, limits in workloads.items()
        for other, limit in zip((FLOORS[server], node.SERVER), limits, strict=True)
        if limit is not None
    )


BARS: tuple[Bar, ...] = (
    *_cpu_bars(),
    Bar("ours-asgi", "W3h", CPU, node.SERVER, 0.20),
    Bar("ours-asgi", "W2", DELAY, FLOORS["ours-asgi"], 1.0, EXCESS),
    Bar("ours-wsgi", "W2", DELAY, FLOORS["ours-wsgi"], 5.0, EXCESS),
    Bar("ours-asgi", "W3", FIRST_EVENT, node.SERVER, 1.0),
    Bar("ours-asgi-model", "W3", FIRST_EVENT, node.SERVER, 1.0),
    Bar("ours-wsgi", "W3", FIRST_EVENT, node.SERVER, 1.0),
    Bar("ours-asgi", "W5", MEMORY, node.SERVER, 0.30),
    Bar("ours-wsgi", "W5", MEMORY, node.SERVER, 0.80),
    Bar("ours-asgi", "W0", FIRST_INFO, node.SERVER, 0.40),
    Bar("ours-asgi", "W0", FIRST_RUN, node.SERVER, 0.50),
    Bar("ours-asgi", "streams", STREAM_ERRORS, None, 0, ABSOLUTE),
    Bar("ours-asgi", "streams", MEMORY_GROWTH, None, 1.2, ABSOLUTE),
    Bar("ours-asgi", "replay", REPLAY, None, 0.5, ABSOLUTE),
)
