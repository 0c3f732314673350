"""`BaseModel`, to recognise pydantic's models by, without importing pydantic: whoever has a model has done so."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import BaseModel
else:

    def _imported() -> type | None:
        """Returns pydantic's class; None before it exists, which may be while another thread imports the module."""
        return getattr(sys.modules.get("pydantic.main"), "BaseModel", None)

    class _Recogniser(type):
        """Checks what pydantic's class does, once there is one."""

        def __instancecheck__(cls, value: Any) -> bool:
            model = _imported()
            return model is not None and isinstance(value, model)

        def __subclasscheck__(cls, kind: type) -> bool:
            model = _imported()
            return model is not None and issubclass(kind, model)

    class BaseModel(metaclass=_Recogniser):
        """In ``isinstance`` and ``issubclass``, what ``pydantic.BaseModel`` is, whose import takes 0.1 s."""


__all__ = ["BaseModel"]
