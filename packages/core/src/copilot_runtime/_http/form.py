"""The parts of forms."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FormPart:
    """One part of a ``multipart/form-data`` body (RFC 7578).

    ``filename`` is None for a plain field, ``content_type`` None where the part has none.
    """

    name: str
    data: bytes
    filename: str | None = None
    content_type: str | None = None


def make_form_parts(
    fields: Iterable[tuple[str, str]], files: Iterable[tuple[str, str | None, Any]]
) -> tuple[FormPart, ...] | None:
    """Returns the parts of a form that a framework has parsed; None if it has none.

    Args:
        fields: names and values.
        files: names, file names and files; a file has ``seek``, ``read`` and ``content_type``, as werkzeug's and
            Django's have. Raises what reading them raises.
    """
    parts = [FormPart(name=name, data=value.encode()) for name, value in fields]
    for name, filename, file in files:
        file.seek(0)  # the code that parsed the form may have read it, too
        parts.append(FormPart(name=name, data=file.read(), filename=filename, content_type=file.content_type))
    return tuple(parts) or None
