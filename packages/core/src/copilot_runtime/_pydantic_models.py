"""`BaseModel`, to recognise pydantic's models by, without importing pydantic: whoever has a model has done so."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import BaseModel
else:

    class _Recogniser(type):
        """Checks what pydantic's class does, once there is one."""

        def __instancecheck__(cls, value: Any) -> bool:
            pydantic = sys.modules.get("pydantic.main")
            return pydantic is not None and isinstance(value, pydantic.BaseModel)

        def __subclasscheck__(cls, kind: type) -> bool:
            pydantic = sys.modules.get("pydantic.main")
            return pydantic is not None and issubclass(kind, pydantic.BaseModel)

    class BaseModel(metaclass=_Recogniser):
        """In ``isinstance`` and ``issubclass``, what ``pydantic.BaseModel`` is, whose import takes 0.1 s."""


__all__ = ["BaseModel"]
