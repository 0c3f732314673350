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


def test_base_model_has_no_instances_while_another_thread_imports_pydantic() -> None:
    """As at the first run of a process, during which the event loop goes on."""
    program = """
import sys
import threading
from importlib.machinery import PathFinder, SourceFileLoader
from copilot_runtime._pydantic_models import BaseModel

begun, ended = threading.Event(), threading.Event()

class Loader(SourceFileLoader):
    def exec_module(self, module):
        begun.set()
        assert ended.wait(30)
        super().exec_module(module)

class Finder:
    def find_spec(name, path, target=None):
        spec = PathFinder.find_spec(name, path, target)
        if name == "pydantic.main":
            spec.loader = Loader(name, spec.origin)
        return spec

sys.meta_path.insert(0, Finder)
thread = threading.Thread(target=lambda: __import__("pydantic.main"))
thread.start()
try:
    assert begun.wait(30)
    assert not isinstance({}, BaseModel) and not issubclass(dict, BaseModel)
finally:
    ended.set()
    thread.join()
assert issubclass(sys.modules["pydantic"].BaseModel, BaseModel)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
