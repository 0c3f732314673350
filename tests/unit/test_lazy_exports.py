"""Names whose modules are imported when they are first used."""

from __future__ import annotations

import inspect
import pickle
import pydoc
import subprocess
import sys
import typing
from collections.abc import Iterator
from importlib import import_module
from types import FunctionType

import pytest

PACKAGES = {
    "copilot_runtime.agents": "copilot_runtime.agents._http_agent",
    "copilot_runtime.stores": "copilot_runtime.stores._sqlite.store",
    "copilot_runtime.transcription": "copilot_runtime.transcription._openai",
}
"""The packages that have such names, and a module of each that is imported late."""


def run_python(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("package", PACKAGES)
def test_lazy_exports_are_listed_documented_and_imported_by_a_star(package: str) -> None:
    module = import_module(package)
    assert set(module.__all__) <= set(dir(module))
    namespace: dict[str, object] = {}
    exec(f"from {package} import *", namespace)
    assert set(module.__all__) <= set(namespace)
    page = pydoc.render_doc(module, renderer=pydoc.plaintext)
    for name in module.__all__:
        assert name in page
        assert getattr(module, name) is namespace[name]


@pytest.mark.parametrize("package", PACKAGES)
def test_lazy_exports_can_be_pickled(package: str) -> None:
    module = import_module(package)
    exported = [getattr(module, name) for name in module.__all__]
    classes = [value for value in exported if isinstance(value, type)]
    assert classes
    for value in classes:
        assert pickle.loads(pickle.dumps(value)) is value


@pytest.mark.parametrize("package", PACKAGES)
def test_lazy_exports_unknown_names_raise_as_elsewhere(package: str) -> None:
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'Missing'") as raised:
        import_module(package).Missing  # noqa: B018
    assert raised.value.name == "Missing"
    with pytest.raises(ImportError, match="cannot import name 'Missing'"):
        exec(f"from {package} import Missing")


FOR_TYPE_CHECKERS = dict.fromkeys(
    ("AsyncAnthropic", "AsyncOpenAI", "BaseEvent", "GoogleClient", "Request", "RunAgentInput", "RunContext", "User"),
    object,
)
"""What some modules import for type checkers alone, such as an extra's classes."""


def functions_of(value: object) -> Iterator[FunctionType]:
    """Yields a function, or those of a class, its constructor and properties included."""
    members = inspect.getmembers_static(value) if isinstance(value, type) else [("", value)]
    for name, member in members:
        function = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
        if isinstance(function, FunctionType) and (name == "__init__" or not name.startswith("_")):
            yield function


@pytest.mark.parametrize(
    "package", ["copilot_runtime", "copilot_runtime.adapters", "copilot_runtime.testing", *PACKAGES]
)
def test_lazy_exports_leave_no_type_hint_of_a_public_name_unresolved(package: str) -> None:
    """Tools that show or inject arguments evaluate annotations at run time."""
    module = import_module(package)
    for name in module.__all__:
        value = getattr(module, name)
        if isinstance(value, type):
            typing.get_type_hints(value, localns=FOR_TYPE_CHECKERS)
        for function in functions_of(value):
            if function.__module__.startswith("copilot_runtime"):
                typing.get_type_hints(function, localns=FOR_TYPE_CHECKERS)
                inspect.signature(function, locals=FOR_TYPE_CHECKERS, eval_str=True)


WHEN_USED = """
import sys
from importlib import import_module

for name, late in {packages!r}.items():
    package = import_module(name)
    assert set(package.__all__) <= set(dir(package))
    assert not hasattr(package, "Missing")
    assert late not in sys.modules, "neither imports anything"
    for exported in package.__all__:
        getattr(package, exported)
    assert late in sys.modules
    assert set(package.__all__) <= set(vars(package)), "each is looked up only once"
"""


def test_lazy_exports_are_imported_when_one_is_used() -> None:
    run_python(WHEN_USED.format(packages=PACKAGES))


MANY_THREADS = """
import sys, threading
from concurrent.futures import ThreadPoolExecutor
import copilot_runtime.agents as agents, copilot_runtime.stores as stores

ready = threading.Barrier(16)

def use(number):
    ready.wait(30)
    package, name = ((agents, "HttpAgent"), (agents, "define_tool"), (stores, "SqliteStore"))[number % 3]
    return name, getattr(package, name)

with ThreadPoolExecutor(16) as pool:
    assert len(set(pool.map(use, range(16)))) == 3
"""

AFTER_FORK = """
import os
import copilot_runtime.agents as agents

child = os.fork()
if child == 0:
    os._exit(0 if isinstance(agents.HttpAgent, type) else 1)
assert os.waitpid(child, 0)[1] == 0
assert isinstance(agents.HttpAgent, type)
"""


@pytest.mark.parametrize(
    "program",
    [MANY_THREADS, f"from gevent import monkey; monkey.patch_all()\n{MANY_THREADS}", AFTER_FORK],
    ids=["threads", "gevent", "fork"],
)
def test_lazy_exports_first_use_by_many_at_once(program: str) -> None:
    run_python(program)
