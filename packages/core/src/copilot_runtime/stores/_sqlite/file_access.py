"""Who may read the files of a SQLite store."""

from __future__ import annotations

import contextlib
import logging
import os
import stat

logger = logging.getLogger("copilot_runtime.stores.sqlite")

_OWNER_ONLY = 0o600


def companion(path: str, suffix: str) -> str:
    """Returns the path of ``-wal`` or ``-shm``. If ``path`` is a link, they are next to what it leads to."""
    return os.path.realpath(path) + suffix


def create(path: str) -> None:
    """Creates the file for its owner only, whatever the umask is. Does nothing if it exists, or cannot be created.

    SQLite creates the files next to it with the same permissions.
    """
    with contextlib.suppress(OSError):
        # A link may lead to where there is no file yet. Closing the file releases no lock, since nobody has one yet.
        os.close(os.open(os.path.realpath(path), os.O_CREAT | os.O_EXCL | os.O_RDWR, _OWNER_ONLY))


def restrict_journal(path: str) -> None:
    """Takes permissions from the files next to the database that the database itself does not grant.

    They have the same content, and keep the permissions that the database had when they were created.
    """
    with contextlib.suppress(OSError):
        allowed = stat.S_IMODE(os.stat(path).st_mode)
        for file in (companion(path, "-wal"), companion(path, "-shm")):
            with contextlib.suppress(OSError):
                mode = stat.S_IMODE(os.stat(file).st_mode)
                if mode & ~allowed:
                    os.chmod(file, mode & allowed)


def warn_if_public(path: str) -> None:
    """Logs a warning if any user of the machine may read or write the file."""
    with contextlib.suppress(OSError):
        if os.name == "posix" and os.stat(path).st_mode & (stat.S_IROTH | stat.S_IWOTH):
            logger.warning("every user of this machine can read %s: restrict it with chmod o-rwx", path)
