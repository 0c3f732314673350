"""Recognising pydantic's models without importing pydantic."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pydantic
import pytest
from ag_ui.core import Tool

from copilot_runtime._pydantic_models import BaseModel


class Model(pydantic.BaseModel):
    name: str = ""


@pydantic.dataclasses.dataclass
class NoModel:
    name: str = ""


@pytest.mark.parametrize(
    "value", [Model(), Tool(name="t", description="", parameters={}), NoModel(), Model, {}, "text", 1, None]
)
def test_base_model_recognises_what_pydantics_own_class_does(value: Any) -> None:
    assert isinstance(value, BaseModel) is isinstance(value, pydantic.BaseModel)
    assert issubclass(type(value), BaseModel) is issubclass(type(value), pydantic.BaseModel)


def test_base_model_has_no_instances_before_pydantic_is_imported() -> None:
    program = """
import sys
from copilot_runtime._pydantic_models import BaseModel

class Like:
    __pydantic_fields__ = model_fields = {}

assert not isinstance(Like(), BaseModel) and not issubclass(Like, BaseModel)
assert "pydantic" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
