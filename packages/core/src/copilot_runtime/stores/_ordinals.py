"""The ordinals of runs, which clients see in the ids of events."""

from __future__ import annotations

import itertools
import secrets
import struct
from collections.abc import Sequence
from hashlib import blake2b

from .._concurrency.process_local import ProcessLocal, process_id

_KEY = secrets.token_bytes(32)
_counter = itertools.count()
_read_numbers = struct.Struct("16I").unpack
_cut = (2**30 - 1).__and__  # which 32 bits of a database hold
_unused: ProcessLocal[list[int]] = ProcessLocal(list)
"""Ordinals that no thread has got yet."""


def first_ordinal() -> int:
    """Returns the ordinal of a new thread's first run: a random one.

    The event ids of a thread that is created again must differ from those of before, also where nothing is left of it,
    and a number that threads shared would tell a user of the threads of others.
    """
    return take_ordinal(_unused.get())


def take_ordinal(unused: list[int]) -> int:
    """Returns what `first_ordinal` returns. ``unused`` is a list of this process's, empty at first."""
    try:
        return unused.pop()
    except IndexError:
        ordinal, *others = filter(None, map(_cut, _digest()))  # not 0, which stands for no run
        unused += others
        return ordinal


def _digest() -> Sequence[int]:
    """Returns some random numbers."""
    # Not from the system's generator: such a call releases the interpreter's lock. Stores ask for ordinals with their
    # own lock held, for which all other worker threads then queued (two runs of three under WSGI).
    message = b"%d %d" % (process_id(), next(_counter))
    return _read_numbers(blake2b(message, key=_KEY, digest_size=64).digest())
