"""The command ``copilot-runtime migrate``."""

from __future__ import annotations

import argparse

from .._log_text import one_line
from ..stores import RedisStore, StoreError, store_from_url
from ..stores._passwords import split_url, without_password
from .errors import CommandError


def migrate(options: argparse.Namespace) -> int:
    """Brings the tables of a store up to date.

    Returns:
        The exit code: 0 if they are.
    """
    shown = without_password(options.store)
    try:
        if split_url(options.store).scheme == "memory":
            raise CommandError("memory:// has no tables, and nothing that stays")
        store = store_from_url(options.store)
        if isinstance(store, RedisStore):
            print(f"{shown}: nothing to do, since Redis has no tables.")
            return 0
        migrate_tables = getattr(store, "migrate", None)
        migrated = migrate_tables() if migrate_tables is not None else None
    except (ImportError, ValueError) as error:
        raise CommandError(str(error)) from error
    except StoreError as error:
        raise CommandError(f"{shown}: {one_line(error)}", exit_code=1) from error
    if migrated is None:
        print(f"{shown}: up to date.")
    elif migrated.before == migrated.after:
        print(f"{shown}: up to date, with version {migrated.after}.")
    elif migrated.before == 0:
        print(f"{shown}: created the tables, version {migrated.after}.")
    else:
        print(f"{shown}: migrated from version {migrated.before} to {migrated.after}.")
    return 0
