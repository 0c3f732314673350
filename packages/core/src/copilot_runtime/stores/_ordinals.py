"""The ordinals of runs, which clients see in the ids of events."""

from __future__ import annotations

import itertools
import secrets
import struct
from hashlib import blake2b

from .._concurrency.process_local import ProcessLocal, process_id

_FIRST_ORDINALS = 1_000_000_000
_KEY = secrets.token_bytes(32)
_counter = itertools.count()
_read_numbers = struct.Struct("8Q").unpack
_unused: ProcessLocal[list[int]] = ProcessLocal(list)
"""Random numbers that no thread has got yet. Each digest has eight."""


def first_ordinal() -> int:
    """Returns the ordinal of a new thread's first run: a random one.

    The event ids of a thread that is created again must differ from those of before, also where nothing is left of it,
    and a number that threads shared would tell a user of the threads of others.
    """
    # Not from the system's generator each time: such a call releases the interpreter's lock. Stores call this function
    # with their own lock held, for which all other worker threads then queued (two runs of three under WSGI).
    unused = _unused.get()
    try:
        number = unused.pop()
    except IndexError:
        message = b"%d %d" % (process_id(), next(_counter))
        number, *others = _read_numbers(blake2b(message, key=_KEY, digest_size=64).digest())
        unused += others
    return 1 + number % _FIRST_ORDINALS
