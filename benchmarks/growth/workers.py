"""Measures a case: each size in a process of its own, so that none pays for another's memory, and alternately."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import multiprocessing
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

from .cases import CASES, Case, Load
from .in_process import send
from .series import Point, Series

SETTLE_SECONDS = 0.05
"""How long what goes on after the last response is measured too."""


def measure(case: Case, rounds: int) -> Series:
    """Returns the CPU time per run of a case, in microseconds, by size."""
    sizes = case.sizes
    with contextlib.ExitStack() as stack:
        workers = [stack.enter_context(_worker(case, size)) for size in sizes]
        for worker in workers:
            worker.recv()  # it is ready
        figures: list[list[float]] = [[] for _ in sizes]
        for turn in range(rounds):
            for at in range(len(sizes)):
                index = (at + turn) % len(sizes)
                workers[index].send(True)
                figures[index].append(workers[index].recv())
    points = (Point(size, tuple(of)) for size, of in zip(sizes, figures, strict=True))
    return Series(case.name, "CPU us per run", case.growth, tuple(points))


@contextlib.contextmanager
def _worker(case: Case, size: int) -> Iterator[Connection]:
    """Starts a process that measures once for each True that it is sent, until it is sent False."""
    context = multiprocessing.get_context("spawn")
    ours, its = context.Pipe()
    process = context.Process(target=_work, args=(its, case.name, size), daemon=True)
    process.start()
    its.close()  # so that reading fails if the process dies
    try:
        yield ours
        ours.send(False)
        process.join()
    finally:
        process.kill()


def _work(connection: Connection, name: str, size: int) -> None:
    with tempfile.TemporaryDirectory(prefix="copilot-growth-") as folder:
        asyncio.run(_serve(connection, CASES[name], size, Path(folder)))


async def _serve(connection: Connection, case: Case, size: int, folder: Path) -> None:
    load = await case.prepare(size, case.store(folder))
    await _cpu_us(load)  # fills what is made once and kept
    connection.send(None)
    while connection.recv():
        connection.send(await _cpu_us(load))


async def _cpu_us(load: Load) -> float:
    """Returns the CPU time of this process per run."""
    requests = load.requests()
    gc.collect()
    before = time.process_time()
    for request in requests:
        await send(load.app, request)
    await asyncio.sleep(SETTLE_SECONDS)
    return (time.process_time() - before) * 1e6 / len(requests)
