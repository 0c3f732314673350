"""Values per process: made on first use, and again after a fork or where gevent has replaced `threading`."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
import threading

import pytest

from copilot_runtime._concurrency import process_local
from copilot_runtime._concurrency.process_local import ProcessLocal

HANG_SECONDS = 30


def test_process_local_value_is_created_on_first_use() -> None:
    created: list[object] = []

    def create() -> object:
        created.append(object())
        return created[-1]

    local = ProcessLocal(create)
    assert local.get_existing() is None
    assert created == []
    assert local.get() is local.get() is local.get_existing() is created[0]
    assert len(created) == 1


def test_process_local_value_is_one_for_threads_that_create_it_at_once() -> None:
    both, started, found = threading.Barrier(2), list[object](), list[object]()

    def create() -> object:
        both.wait(HANG_SECONDS)
        return object()

    local = ProcessLocal(create, started.append)
    threads = [threading.Thread(target=lambda: found.append(local.get())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(HANG_SECONDS)
    assert len(found) == 2
    assert {*found} == {*started} == {local.get()}
    assert len(started) == 1


def test_process_local_value_that_cannot_be_started_is_created_again() -> None:
    started: list[object] = []

    def start(value: object) -> None:
        started.append(value)
        if len(started) == 1:
            raise RuntimeError("can't start new thread")

    local = ProcessLocal(object, start)
    with pytest.raises(RuntimeError, match="new thread"):
        local.get()
    assert local.get_existing() is None
    assert local.get() is started[1]


def test_process_local_value_is_another_one_after_gevent_has_patched(monkeypatch: pytest.MonkeyPatch) -> None:
    class PatchedLock:
        """What gevent puts in the place of `threading.Lock`."""

    lock = process_local.process_lock()
    before = lock.get()
    monkeypatch.setattr(threading, "Lock", PatchedLock)
    assert isinstance(lock.get(), PatchedLock)
    monkeypatch.undo()
    assert lock.get() is before


@pytest.mark.requirement("FORK-01")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_process_local_lock_that_is_held_during_a_fork() -> None:
    lock = process_local.process_rlock()
    with lock.get():
        held = lock.get()
        child = os.fork()
        if child == 0:
            os._exit(lock.get() is not held and lock.get().acquire(blocking=False))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1


FORKS = """
import ctypes, os, sys
from copilot_runtime._concurrency import process_local

how, page = sys.argv[1:]
if page == "without a page":
    process_local._page = None
fork = os.fork if how == "os.fork" else ctypes.PyDLL(None).fork
parent = os.getpid()

def status_of_child(check):
    child = fork()
    if child == 0:
        os._exit(0 if check() else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

def is_own():
    return process_local.process_id() == os.getpid() != parent

assert process_local.process_id() == process_local.process_id() == parent
assert status_of_child(lambda: is_own() and is_own() and status_of_child(is_own) == 0) == 0
assert process_local.process_id() == parent
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.parametrize("how", ["os.fork", "fork in C"])
@pytest.mark.parametrize("page", ["with a page", "without a page"])
def test_process_id_after_a_fork(how: str, page: str) -> None:
    # In a process without other threads: a child that C has forked waits for the one that wanted to run next.
    subprocess.run([sys.executable, "-c", FORKS, how, page], check=True, timeout=60)


@pytest.mark.parametrize("error", [OSError, ValueError, None])
def test_process_id_where_pages_are_not_wiped(monkeypatch: pytest.MonkeyPatch, error: type[Exception] | None) -> None:
    """The system does not know how to, or an emulator of it accepts whatever it is asked for."""

    class Page(mmap.mmap):
        def madvise(self, *_: int) -> None:
            if error is not None:
                raise error

    monkeypatch.setattr(mmap, "mmap", Page)
    assert process_local._wiped_page() is None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux wipes pages")
def test_process_id_is_asked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    process_local.process_id()
    asked: list[None] = []
    monkeypatch.setattr(os, "getpid", lambda: asked.append(None))
    for _ in range(100):
        process_local.process_id()
    assert asked == []
