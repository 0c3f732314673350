"""A store that fails: nothing hangs, no success is reported that is not stored, and it recovers by itself.

What is done to the file is what happens to files: they are locked, moved, filled up and
overwritten. The tests look like another program to the server, and run as any user.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import math
import os
import re
import resource
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from copilot_runtime import CopilotRuntime
from copilot_runtime.stores import PostgresStore, RedisStore, SqliteStore, StoreError, store_from_url
from copilot_runtime.stores.protocol import NewRun, ThreadKey

from .compaction_oracle import compact
from .http_client import Client, Frame, Stream, unique
from .serve import ADAPTERS, ROOT
from .servers import RunningServer
from .shared_stores import SqliteFile
from .workers import events_of, eventually, frames_until, pid_of, serve_workers, works

STACKS = ("wsgi", "asgi")
"""What a store does to the engine is the same below every adapter; one case is for each of them."""
LEASE_SECONDS = 2.0
TIMEOUT_SECONDS = 0.5
"""How long the store waits for a lock."""
BOUND_SECONDS = 20.0
"""No answer may take longer than this; what is waited for takes a fraction of it."""
CROWD = 30


@pytest.fixture(params=STACKS)
def name(request: pytest.FixtureRequest) -> str:
    server: str = request.param
    return server


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    return folder / "threads.db"


@contextlib.contextmanager
def over(name: str, path: Path, *, timeout_seconds: float = TIMEOUT_SECONDS) -> Iterator[RunningServer]:
    url = SqliteFile(path).url(lease_seconds=LEASE_SECONDS, timeout_seconds=timeout_seconds)
    with serve_workers(name, url) as server:
        yield server


@pytest.fixture
def client(name: str, path: Path) -> Iterator[Client]:
    with over(name, path) as server:
        yield Client(server)


# --- what is expected of a server whose store does not work --------------------------


def refused(stream: Stream) -> None:
    """A clear answer that says to come again."""
    with stream:
        assert stream.status == 503
        assert stream.headers["content-type"].startswith("application/json")
        assert int(stream.headers["retry-after"]) > 0
        response = stream.json()
    assert response["error"] == "store_unavailable"
    assert "sqlite" not in response["message"].lower()


def refuses_to_write(client: Client, thread: str, live: str | None = None) -> None:
    """A run, a stop (of the run on thread ``live``, if there is one) and a deletion."""
    refused(client.start_run("count", thread))
    refused(client.open("POST", f"/agent/count/stop/{live or thread}"))
    refused(client.open("DELETE", f"/threads/{thread}"))


def refuses_to_read(client: Client, thread: str) -> None:
    refused(client.connect("count", thread))
    refused(client.open("GET", "/threads"))
    refused(client.open("GET", f"/threads/{thread}/messages"))


def run_whole(client: Client, thread: str, n: int = 3) -> list[Frame]:
    """A run that was acknowledged: its end was shown."""
    with client.start_run("count", thread, forwardedProps={"n": n, "interval": 0.001}) as stream:
        assert stream.status == 200, stream.read()
        frames = list(stream.frames())
    assert frames[-1].event["type"] == "RUN_FINISHED"
    return frames


def comes_back(client: Client, *threads: str) -> None:
    """Without a restart, on threads old and new, leases that the fault has left behind included."""
    for thread in (*threads, unique("new")):
        eventually(lambda thread=thread: works(client, thread), BOUND_SECONDS)  # type: ignore[misc]


def not_stored(stream: Stream) -> None:
    """The rest of a stream whose run cannot be stored."""
    last = stream.rest()[-1]
    assert last["type"] == "RUN_ERROR"
    assert last["code"] in ("STORE_UNAVAILABLE", "RUN_INTERRUPTED", "RUN_LOST")


# --- locked --------------------------------------------------------------------------


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another program writes and does not come to an end."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA busy_timeout = 30000")
    db.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        db.execute("ROLLBACK")
        db.close()


@pytest.mark.requirement("STORE-06")
def test_sqlite_locked_file(client: Client, path: Path, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    kept = run_whole(client, "kept")
    with client.start_run("count", "live", forwardedProps={"until": str(gate)}) as live:
        frames_until(live, 2)
        with locked(path):
            # Active runs continue, and what can be read is sent.
            frames_until(live, 10)
            assert events_of(client.replay("count", "kept")) == compact(events_of(kept))
            refuses_to_write(client, "kept")
            gate.touch()
            not_stored(live)
    comes_back(client, "kept", "live")
    assert events_of(client.replay("count", "kept"))[: len(compact(events_of(kept)))] == compact(events_of(kept))


@pytest.mark.requirement("STORE-06")
def test_sqlite_lock_that_is_released_in_time_is_not_noticed(client: Client, path: Path, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with client.start_run("count", "live", forwardedProps={"until": str(gate)}) as live:
        start = frames_until(live, 2)
        with locked(path):
            # The agent ends. Its end is held back until it is stored, which is tried again.
            gate.touch()
            refused(client.start_run("count", "other"))
        rest = list(live.frames())
    assert rest[-1].event["type"] == "RUN_FINISHED"
    assert events_of(client.replay("count", "live")) == compact(events_of([*start, *rest]))


@pytest.mark.requirement("STORE-06")
def test_sqlite_locked_file_with_many_requests(name: str, path: Path) -> None:
    with over(name, path, timeout_seconds=2) as server:
        client = Client(server)
        with locked(path), concurrent.futures.ThreadPoolExecutor(CROWD) as pool:
            runs = [pool.submit(client.start_run, "count", f"crowd-{number}") for number in range(CROWD)]
            for run in concurrent.futures.as_completed(runs, timeout=BOUND_SECONDS):
                refused(run.result())
        comes_back(client, *(f"crowd-{number}" for number in range(3)))


# --- gone ----------------------------------------------------------------------------


@pytest.mark.requirement("STORE-06")
def test_sqlite_deleted_file(client: Client, path: Path) -> None:
    run_whole(client, "kept")
    with client.start_run("count", "live") as live, client.connect("count", "live") as other:
        frames_until(live, 2)
        for file in path.parent.iterdir():
            file.unlink()
        # Nothing is left of it that could be sent.
        for stream in (live, other):
            last = stream.rest()[-1]
            assert (last["type"], last["code"]) == ("RUN_ERROR", "RUN_LOST")
    assert client.replay("count", "kept") == []
    comes_back(client, "kept", "live")


@pytest.mark.requirement("STORE-06")
@pytest.mark.parametrize("name", ADAPTERS, indirect=True)
def test_sqlite_folder_that_is_missing_for_a_while(client: Client, path: Path, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    kept = run_whole(client, "kept")
    with client.start_run("count", "live", forwardedProps={"until": str(gate)}) as live:
        frames_until(live, 2)
        away = path.parent.rename(tmp_path / "away")
        refuses_to_write(client, "kept")
        refuses_to_read(client, "kept")
        gate.touch()
        not_stored(live)
    away.rename(path.parent)
    assert events_of(client.replay("count", "kept")) == compact(events_of(kept))
    comes_back(client, "kept", "live")


@pytest.mark.requirement("STORE-06")
def test_sqlite_folder_in_place_of_the_file(client: Client, path: Path, tmp_path: Path) -> None:
    kept = run_whole(client, "kept")
    away = path.parent.rename(tmp_path / "away")
    path.mkdir(parents=True)
    refuses_to_write(client, "kept")
    refuses_to_read(client, "kept")
    shutil.rmtree(path.parent)
    away.rename(path.parent)
    assert events_of(client.replay("count", "kept")) == compact(events_of(kept))
    comes_back(client, "kept")


@pytest.mark.requirement("STORE-06")
def test_sqlite_file_that_is_not_a_database(client: Client, path: Path, tmp_path: Path) -> None:
    kept = run_whole(client, "kept")
    away = path.parent.rename(tmp_path / "away")
    path.parent.mkdir()
    path.write_bytes(b"this is not a database\n" * 500)
    refuses_to_write(client, "kept")
    refuses_to_read(client, "kept")
    shutil.rmtree(path.parent)
    away.rename(path.parent)
    assert events_of(client.replay("count", "kept")) == compact(events_of(kept))
    comes_back(client, "kept")


# --- full ----------------------------------------------------------------------------


@contextlib.contextmanager
def no_room(process: int) -> Iterator[None]:
    """No file that a process writes may grow: a quota, which any user may set for his processes."""
    soft, hard = resource.prlimit(process, resource.RLIMIT_FSIZE)
    resource.prlimit(process, resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.prlimit(process, resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.requirement("STORE-06")
def test_sqlite_write_error_for_lack_of_space(client: Client, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    kept = run_whole(client, "kept")
    with client.start_run("count", "live", forwardedProps={"until": str(gate)}) as live:
        frames_until(live, 2)
        with no_room(pid_of(live)):
            refused(client.start_run("count", "kept"))
            refused(client.open("DELETE", "/threads/kept"))
            assert events_of(client.replay("count", "kept")) == compact(events_of(kept))
            gate.touch()
            not_stored(live)
    comes_back(client, "kept", "live")
    assert events_of(client.replay("count", "kept"))[: len(compact(events_of(kept)))] == compact(events_of(kept))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    options = ["-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if mount is None or subprocess.run([mount, *options], capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.requirement("STORE-06")
def test_sqlite_full_disk(name: str, small_disk: Path, tmp_path: Path) -> None:
    path = small_disk / "threads.db"
    filler = small_disk / "filler"
    with over(name, path) as server:
        client = Client(server)
        gate = tmp_path / "gate"
        kept = run_whole(client, "kept")
        with client.start_run("count", "live", forwardedProps={"until": str(gate)}) as live:
            frames_until(live, 2)
            with filler.open("wb") as file, contextlib.suppress(OSError):
                while True:
                    os.write(file.fileno(), bytes(1024))
            # What there is of the journal can be written again, so it takes a while until nothing goes.
            eventually(lambda: _is_full(client), BOUND_SECONDS)
            assert events_of(client.replay("count", "kept")) == compact(events_of(kept))
            gate.touch()
            not_stored(live)
        filler.unlink()
        comes_back(client, "kept", "live")
        assert events_of(client.replay("count", "kept"))[: len(compact(events_of(kept)))] == compact(events_of(kept))


def _is_full(client: Client) -> bool:
    """Whether a run is refused. One that is not ends, one way or the other, and is kept where it ended well."""
    thread = unique("filling")
    stream = client.start_run("count", thread, forwardedProps={"n": 200, "interval": 0})
    if stream.status != 200:
        refused(stream)
        return True
    with stream:
        frames = events_of(stream.frames())
    if frames[-1]["type"] == "RUN_FINISHED":
        assert events_of(client.replay("count", thread)) == compact(frames)
    else:
        assert frames[-1]["code"] in ("STORE_UNAVAILABLE", "RUN_LOST")
    return False


# --- read-only -----------------------------------------------------------------------


@contextlib.contextmanager
def immutable(*files: Path) -> Iterator[None]:
    """Files that cannot be written, not even by root."""
    command = shutil.which("chattr")
    names = [str(file) for file in files]
    if command is None or subprocess.run([command, "+i", *names], capture_output=True, check=False).returncode:
        pytest.skip("this user, or this disk, knows no immutable files")
    try:
        yield
    finally:
        subprocess.run([command, "-i", *names], check=True)


@pytest.mark.requirement("STORE-06")
def test_sqlite_read_only_for_a_while(client: Client, path: Path, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    kept = run_whole(client, "kept")
    with client.start_run("count", "live", forwardedProps={"until": str(gate)}) as live:
        frames_until(live, 2)
        with immutable(path, path.with_name("threads.db-wal")):
            refuses_to_write(client, "kept", "live")
            gate.touch()
            not_stored(live)
    comes_back(client, "kept", "live")
    assert events_of(client.replay("count", "kept"))[: len(compact(events_of(kept)))] == compact(events_of(kept))


NOBODY = 65534

CONSTRUCT = """
import os, sys
from copilot_runtime.stores import SqliteStore
if os.geteuid() == 0:
    os.setuid(int(sys.argv[2]))
try:
    SqliteStore(sys.argv[1])
except ValueError as error:
    print(error)
"""


def construct_as_nobody(path: Path) -> str:
    """Returns the error that an ordinary user gets: permissions mean nothing to root."""
    done = subprocess.run(
        [sys.executable, "-c", CONSTRUCT, str(path), str(NOBODY)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.fixture
def public(tmp_path: Path) -> Iterator[Path]:
    """A folder that an ordinary user may enter."""
    with contextlib.ExitStack() as stack:
        for folder in (tmp_path, *tmp_path.parents):
            mode = folder.stat().st_mode
            if not mode & 0o001:
                folder.chmod(mode | 0o011)
                stack.callback(folder.chmod, mode)
        yield tmp_path


@pytest.mark.requirement("CONFIG-02", "STORE-06")
def test_sqlite_unwritable_file_is_refused_at_construction(public: Path) -> None:
    path = public / "threads.db"
    SqliteStore(path)
    path.chmod(0o444)
    public.chmod(0o777)
    output = construct_as_nobody(path)
    public.chmod(0o755)
    assert f"may not write to {path}: allow it, or choose another path" in output


@pytest.mark.requirement("CONFIG-02", "STORE-06")
def test_sqlite_unwritable_folder_is_refused_at_construction(public: Path) -> None:
    public.chmod(0o555)
    output = construct_as_nobody(public / "threads.db")
    public.chmod(0o755)
    assert f"may not write to {public}: allow it, or choose another path" in output


# --- construction --------------------------------------------------------------------


def garbage(folder: Path) -> Path:
    path = folder / "garbage.db"
    path.write_bytes(b"this is not a database\n" * 500)
    return path


def newer(folder: Path) -> Path:
    path = folder / "newer.db"
    SqliteStore(path)
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")
    return path


def short(folder: Path) -> Path:
    path = folder / "short.db"
    path.write_text("no")
    return path


def foreign(folder: Path, *statements: str) -> Path:
    """Another program's database."""
    path = folder / "app.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        for statement in statements:
            db.execute(statement)
    return path


TABLE = "CREATE TABLE threads (id INTEGER PRIMARY KEY)"  # a name that we use as well
FOREIGN = "another program's database, .*: choose a path where there is no file yet"


def foreign_and_open(folder: Path) -> Path:
    """Another program's database, which is in use: so far its tables are in the write-ahead log only."""
    code = (
        "import os, sqlite3, sys; db = sqlite3.connect(sys.argv[1], isolation_level=None);"
        f"db.execute('PRAGMA journal_mode = WAL'); db.execute('{TABLE}'); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code, folder / "app.db"], check=True)
    assert (folder / "app.db-wal").stat().st_size
    return folder / "app.db"


def nowhere(folder: Path) -> Path:
    return folder / "nowhere" / "threads.db"


@pytest.mark.requirement("CONFIG-02", "STORE-06")
@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (garbage, "is not a SQLite file: choose another path"),
        (short, "is not a SQLite file: choose another path"),
        (lambda folder: foreign(folder, TABLE), FOREIGN),
        (lambda folder: foreign(folder, "PRAGMA journal_mode = WAL", TABLE), FOREIGN),
        (lambda folder: foreign(folder, "PRAGMA user_version = 1"), FOREIGN),
        (lambda folder: foreign(folder, "PRAGMA application_id = 7"), FOREIGN),
        (newer, "schema version 99.*upgrade copilot-runtime, or choose another file"),
        (nowhere, "the directory .*nowhere does not exist: create it, or choose another path"),
        (lambda folder: folder, "is a directory: choose the path of a file"),
    ],
    ids=[
        "garbage",
        "short",
        "foreign",
        "foreign-wal",
        "foreign-version",
        "foreign-id",
        "newer",
        "nowhere",
        "folder",
    ],
)
def test_sqlite_unusable_file_is_refused_at_construction(make: Any, sentence: str, tmp_path: Path) -> None:
    path = make(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=sentence):
        CopilotRuntime(agents=lambda context: {}, store=f"sqlite:///{path}")
    assert contents(tmp_path) == before


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.requirement("CONFIG-02", "STORE-06")
def test_sqlite_file_of_another_program_that_is_in_use_is_refused_at_construction(tmp_path: Path) -> None:
    path = foreign_and_open(tmp_path)
    with pytest.raises(ValueError, match=FOREIGN):
        CopilotRuntime(agents=lambda context: {}, store=f"sqlite:///{path}")
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT name FROM sqlite_schema").fetchall() == [("threads",)]
        assert db.execute("PRAGMA application_id").fetchone() == (0,)


@pytest.mark.requirement("CONFIG-02", "STORE-06")
def test_sqlite_file_that_is_replaced_by_another_programs_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    store = SqliteStore(path)
    thread = ThreadKey("", "t")
    store.begin(NewRun(thread=thread, run_id="r", agent_id="a"))
    for file in tmp_path.iterdir():
        file.unlink()
    foreign(tmp_path, TABLE)
    before = contents(tmp_path)
    with pytest.raises(StoreError, match="another program's database"):
        store.begin(NewRun(thread=thread, run_id="r", agent_id="a"))
    assert contents(tmp_path) == before


MEMORY = "a path is required, .*for threads in memory use store='memory://'"


@pytest.mark.requirement("CONFIG-02")
@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite:///:memory:?max_threads=3",
        "sqlite:///%3Amemory%3A",
        "sqlite://:memory:",
        "sqlite:////:memory:",
        "sqlite::memory:",
        "sqlite:",
        "sqlite:copilot.db",
        "sqlite:///file::memory:",
        "sqlite:///file::memory:?cache=shared",
        "sqlite:///file:threads?mode=memory&cache=shared",
        "sqlite:///threads?mode=memory",
        "sqlite:///?mode=memory",
    ],
)
def test_sqlite_in_memory_is_refused(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=MEMORY):
        CopilotRuntime(agents=lambda context: {}, store=url)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.requirement("CONFIG-02")
@pytest.mark.parametrize("path", [":memory:", "", "file:threads.db", "file::memory:?cache=shared"])
def test_sqlite_path_that_is_none_is_refused(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"a path is required.* use store='memory://'"):
        SqliteStore(path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.requirement("CONFIG-02")
@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("sqlite:///t.db?lease=3", "unknown option 'lease', must be one of max_threads, "),
        ("sqlite:///t.db?lease_seconds=soon", "lease_seconds must be a number, got 'soon'"),
        ("sqlite:///t.db?lease_seconds=nan", "lease_seconds must be a number, got 'nan'"),
        ("sqlite:///t.db?lease_seconds=", "lease_seconds must be a number, got ''"),
        ("sqlite:///t.db?lease_seconds=0", "lease_seconds=0.0.: must be > 0"),
        ("sqlite:///t.db?max_threads=1.5", "max_threads must be an integer, got '1.5'"),
        ("sqlite:///t.db?max_threads=-1", "max_threads=-1: must be an integer >= 0"),
        ("sqlite:///t.db?max_threads=1&max_threads=2", "max_threads must occur only once"),
        ("sqlite:///t.db#1", "write # in a path as %23"),
        ("sqlite://t.db", "a path is required, as in sqlite:///copilot.db"),
        ("sqlite:///", "a path is required, as in sqlite:///copilot.db"),
        ("memory://?lease_seconds=1", "unknown option 'lease_seconds', must be one of max_threads, "),
        ("memory://here", "memory:// takes no path"),
        ("memory:///here", "memory:// takes no path"),
        ("mysql://localhost", "use one of memory://, sqlite://"),
    ],
)
def test_store_url_that_is_invalid_is_refused(url: str, sentence: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=sentence):
        store_from_url(url)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.requirement("CONFIG-02")
@pytest.mark.parametrize(
    ("store", "place"),
    [(SqliteStore, "t.db"), (PostgresStore, "postgresql://h/db"), (RedisStore, "redis://h")],
    ids=["sqlite", "postgres", "redis"],
)
@pytest.mark.parametrize("name", ["lease_seconds", "poll_seconds", "timeout_seconds"])
@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, 1e300, "5", True])
def test_store_times_that_are_invalid_are_refused(
    store: Any, place: str, name: str, value: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sentence = f"{store.__name__}({name}={value!r}): must be > 0, and at most 1e+09"
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        store(place, **{name: value})
    assert list(tmp_path.iterdir()) == []


def test_store_url_options_are_passed_to_the_store(tmp_path: Path) -> None:
    store = store_from_url(f"sqlite:///{tmp_path}/a%23b%3Fc.db?lease_seconds=2.5&max_threads=1&timeout_seconds=0.1")
    assert (tmp_path / "a#b?c.db").is_file()
    assert store.lease_seconds == 2.5
    assert store_from_url("memory://?max_threads=3").lease_seconds is None


# --- the store by itself -------------------------------------------------------------


@pytest.mark.requirement("STORE-06")
def test_sqlite_replaced_file_is_a_new_store(tmp_path: Path) -> None:
    path = tmp_path / "threads.db"
    store = SqliteStore(path)
    thread = ThreadKey("", "t")
    start = store.begin(NewRun(thread=thread, run_id="r", agent_id="a"))
    run = start.lease.run  # type: ignore[union-attr]
    # As often as the address of a connection in memory, and whatever is known by it, may be reused.
    for _ in range(5):
        assert not store.follow(run, 0).ended
        for file in tmp_path.iterdir():
            file.unlink()
        assert store.follow(run, 0).ended
        assert store.poll_signals([start.lease])  # type: ignore[union-attr]
        start = store.begin(NewRun(thread=thread, run_id="r", agent_id="a"))
        run = start.lease.run  # type: ignore[union-attr]


@pytest.mark.requirement("STORE-06")
def test_sqlite_timeout_is_how_long_a_lock_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "threads.db"
    store = SqliteStore(path, timeout_seconds=0.05)
    with locked(path), pytest.raises(StoreError):
        store.begin(NewRun(thread=ThreadKey("", "t"), run_id="r", agent_id="a"))
    store.begin(NewRun(thread=ThreadKey("", "t"), run_id="r", agent_id="a"))
