"""Statements and calls of functions, on the connections of a process. Every failure is a StoreError."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from ..._concurrency.process_local import ProcessLocal
from ..protocol import ThreadUnreadable
from .writes import call

if TYPE_CHECKING:
    from .connections import BoundedConnection, Connections

T = TypeVar("T")


class Calls:
    """The calls of one store.

    Args:
        connections: The connections of each process.
        schema: The name of the schema, quoted.
    """

    def __init__(self, connections: ProcessLocal[Connections], schema: str) -> None:
        self._connections = connections
        self.schema = schema

    @property
    def where(self) -> str:
        """The server, for logs."""
        return self._connections.get().where

    def run(self, work: Callable[[BoundedConnection], T], *, repeatable: bool = False) -> T:
        """As `Connections.run`."""
        return self._connections.get().run(work, repeatable=repeatable)

    def fetch(self, sql: str, values: Any, *, repeatable: bool = True) -> list[Any]:
        """Returns what a query returns. In it, ``{s}`` is the schema."""
        sql = sql.replace("{s}", self.schema)
        return self._checked(lambda db: db.execute(sql, values, binary=True).fetchall(), repeatable)

    def call(
        self, function: str, types: Sequence[str], values: Sequence[Any], *, repeatable: bool = False
    ) -> list[Any]:
        """Returns what a function returns that does nothing once this call has failed."""
        sql = call(self.schema, function, ("double precision", *types))
        return self._checked(lambda db: db.execute(sql, (db.not_after(), *values), binary=True).fetchall(), repeatable)

    def execute(self, sql: str, values: Any, *, repeatable: bool) -> None:
        """Executes a statement that returns nothing. In it, ``{s}`` is the schema."""
        sql = sql.replace("{s}", self.schema)
        self.run(lambda db: db.execute(sql, values), repeatable=repeatable)

    def _checked(self, work: Callable[[BoundedConnection], list[Any]], repeatable: bool) -> list[Any]:
        try:
            return self.run(work, repeatable=repeatable)
        except UnicodeError as error:  # half a character, which no id that is stored has
            raise ThreadUnreadable(f"not a text: {error}") from error
