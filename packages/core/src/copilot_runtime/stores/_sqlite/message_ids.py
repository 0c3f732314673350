"""The ids of the messages of a thread, as the rows of a SQLite store have them. ``thread`` is a row id.

A run needs those of all runs of its thread before it begins. They are few, but would be in as many places as there are
runs if each run had its own: they are in the row of the thread, which is read and written then in any case, up to a
length beyond which they move into a row of their own. Each text is ``"id":ordinal,`` per id in the events of the runs,
and then, on a second line, per id in their inputs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence, Set
from typing import Any, NamedTuple

from .._sql.encoding import format_json, integer, parse_json, parse_list, text
from .._sql.message_ids import Ids, ids_by_run, ids_since
from .room import StoreConnection
from .sizes import ids_bytes, text_bytes

MAX_RECENT_BYTES = 1024
"""The longest text in the row of a thread, which each run writes again."""

Db = StoreConnection


class IdColumns(NamedTuple):
    """The columns of a thread that have to do with ids. Their values may be damaged."""

    first_run: Any
    ids_until: Any
    recent_ids: Any


ID_COLUMNS = ", ".join(IdColumns._fields)

_INSERT = "INSERT INTO message_ids (thread, last, bytes, ids) VALUES (?,?,?,?)"


# --- reading ---


def select_known(db: Db, thread: int, ordinal: int, columns: IdColumns) -> tuple[Set[str], Set[str]]:
    """Returns the ids in the events and in the inputs of a thread's runs before an ordinal, at which a run begins."""
    first_run = integer(columns.first_run)
    if first_run <= integer(columns.ids_until):
        return db.message_ids.select(thread, first_run, ordinal - 1, lambda after: _select(db, thread, columns, after))
    in_events, in_inputs = ids_since(_parse([columns.recent_ids]), first_run)
    return in_events.keys(), in_inputs.keys()


def select_ids(db: Db, thread: int) -> Ids:
    """Returns the ids in the events and in the inputs of a thread's runs, each with the last run that has it."""
    [row] = db.execute(f"SELECT {ID_COLUMNS} FROM threads WHERE id = ?", (thread,)).fetchall()
    columns = IdColumns._make(row)
    return ids_since(_select(db, thread, columns, 0), integer(columns.first_run))


def _select(db: Db, thread: int, columns: IdColumns, after: int) -> Ids:
    rows: list[tuple[Any]] = []
    if integer(columns.ids_until) > after:
        rows = db.execute(
            "SELECT ids FROM message_ids WHERE thread = ? AND last > ? ORDER BY last", (thread, after)
        ).fetchall()
    return _parse([*(ids for (ids,) in rows), columns.recent_ids])


def _parse(texts: Sequence[Any]) -> Ids:
    parts = [text(ids).partition("\n") for ids in texts]
    in_events = "".join([events for events, _, _ in parts])[:-1]
    in_inputs = "".join([inputs for _, _, inputs in parts])[:-1]
    # Of an id that is there twice, the last run counts.
    parsed = parse_json(f"[{{{in_events}}},{{{in_inputs}}}]")
    if len(parsed) != 2 or not all(type(ids) is dict and {int}.issuperset(map(type, ids.values())) for ids in parsed):
        raise ValueError("JSON of another form than was stored")
    return parsed[0], parsed[1]


# --- writing ---


def format_ids(ids: Collection[str], ordinal: int) -> str:
    """Returns ids of a run as text."""
    return f"{format_json(dict.fromkeys(ids, ordinal))[1:-1]}," if ids else ""


def format_run(in_events: Collection[str], in_inputs: Collection[str], ordinal: int) -> str:
    """Returns the ids of the messages in the events and in the input of a run as text."""
    return f"{format_ids(in_events, ordinal)}\n{format_ids(in_inputs, ordinal)}"


def format_old_run(in_events: Any, in_inputs: Any, ordinal: Any) -> str:
    """Returns the same for a run of an older version of the schema, with JSON lists; an empty text if damaged."""
    try:
        return format_run(parse_list(in_events, str), parse_list(in_inputs, str), integer(ordinal))
    except (ValueError, RecursionError):
        return ""


class StoredIds(NamedTuple):
    """The ids of a thread once a run has ended."""

    recent_ids: str
    ids_until: int | None
    """These are columns of the thread; this one is None if it has not changed."""
    added_bytes: int
    """About how many more bytes of the file they take."""


def store_ids(db: Db, thread: int, ordinal: int, recent_ids: Any, new: str, ids: Iterable[str]) -> StoredIds:
    """Stores the ids of a run that ends, as far as they do not belong into the row of its thread.

    Args:
        db: The connection.
        thread: The thread.
        ordinal: The ordinal of the run.
        recent_ids: What this row has.
        new: The ids of the run as text.
        ids: The ids of the run.
    """
    recent = _added(text(recent_ids), new, ids) if recent_ids else new
    length, before = text_bytes(recent), text_bytes(recent_ids)
    if length <= MAX_RECENT_BYTES:
        return StoredIds(recent, None, length - before)
    size = ids_bytes(length)
    db.execute(_INSERT, (thread, ordinal, size, recent))
    # Where runs are kept up to some number, they grow at one end and shrink at the other.
    return StoredIds("", ordinal, size - before - delete_old_ids(db, thread))


def _added(recent: str, new: str, ids: Iterable[str]) -> str:
    (events, _, inputs), (new_events, _, new_inputs) = recent.partition("\n"), new.partition("\n")
    # No run has the ids of those before it, except where an agent repeats its input. One that is written in another way
    # is not found, and is then there twice.
    if not any(each in recent for each in ids):
        return f"{events}{new_events}\n{inputs}{new_inputs}"
    return "\n".join([f"{format_json(kept)[1:-1]}," if kept else "" for kept in _parse([recent, new])])


def delete_old_ids(db: Db, thread: int) -> int:
    """Deletes the rows of ids of which all belong to deleted runs. Returns about how many bytes of the file they take.

    What the thread takes is left to the caller.
    """
    deleted = db.execute(
        "DELETE FROM message_ids WHERE thread = ? AND last < (SELECT first_run FROM threads WHERE id = ?)"
        " RETURNING CAST(bytes AS INTEGER)",
        (thread, thread),
    ).fetchall()
    return sum(size for (size,) in deleted)


# --- copying threads ---


class IdRow(NamedTuple):
    """A row of ids: of runs up to ``last``."""

    last: int
    bytes: int
    ids: str


def rows_of_ids(ids: Ids) -> tuple[list[IdRow], str]:
    """Returns the ids of a thread as rows of their own, and what is left for the row of the thread."""
    by_run = [ids_by_run(each) for each in ids]
    rows: list[IdRow] = []
    lines, recent = ["", ""], ""
    for ordinal in sorted({*by_run[0], *by_run[1]}):
        for place, runs in enumerate(by_run):
            lines[place] += format_ids(runs.get(ordinal, ()), ordinal)
        recent = "\n".join(lines)
        length = text_bytes(recent)
        if length > MAX_RECENT_BYTES:
            rows.append(IdRow(ordinal, ids_bytes(length), recent))
            lines, recent = ["", ""], ""
    return rows, recent


def insert_ids(db: Db, thread: int, rows: Iterable[IdRow]) -> None:
    """Inserts rows of ids."""
    db.executemany(_INSERT, [(thread, *row) for row in rows])
