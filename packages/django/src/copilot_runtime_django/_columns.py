"""Columns of a store's tables, whose values may be damaged.

SQLite has any value in any column, and raises an error for a text that is not UTF-8: of a list, not one row could be
shown any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import models

if TYPE_CHECKING:
    _TextField = models.TextField[Any, Any]
    _FloatField = models.FloatField[Any, Any]
    _IntegerField = models.IntegerField[Any, Any]
    _BooleanField = models.BooleanField[Any, Any]
else:
    _TextField, _FloatField = models.TextField, models.FloatField
    _IntegerField, _BooleanField = models.IntegerField, models.BooleanField


def as_type(vendor: str, sql: str, sqlite_type: str) -> str:
    """Returns an expression whose values have a type, also where those of a column do not."""
    return f"CAST({sql} AS {sqlite_type})" if vendor == "sqlite" else sql


def as_text(value: Any) -> Any:
    """Returns a text that was selected as SQLite's BLOB."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value


class StoredTextField(_TextField):
    """A text, with replacement characters where it is damaged."""

    def select_format(self, compiler: Any, sql: str, params: Any) -> Any:
        return as_type(compiler.connection.vendor, sql, "BLOB"), params

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        return as_text(value)


class StoredFloatField(_FloatField):
    """A number, or 0 in place of something else."""

    def select_format(self, compiler: Any, sql: str, params: Any) -> Any:
        return as_type(compiler.connection.vendor, sql, "REAL"), params


class StoredIntegerField(_IntegerField):
    """An integer, or 0 in place of something else."""

    def select_format(self, compiler: Any, sql: str, params: Any) -> Any:
        return as_type(compiler.connection.vendor, sql, "INTEGER"), params


class StoredBooleanField(_BooleanField):
    """Yes or no, or no in place of something else."""

    def select_format(self, compiler: Any, sql: str, params: Any) -> Any:
        return as_type(compiler.connection.vendor, sql, "INTEGER"), params
