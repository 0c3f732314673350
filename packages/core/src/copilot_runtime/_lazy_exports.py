"""Modules that are imported when one of their names is first used."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module


def lazy_exports(
    package: str, names: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Returns the ``__getattr__`` and the ``__dir__`` of a package that exports names of such modules (PEP 562).

    A module is imported when one of its names is first used: as an attribute, or by ``from ... import``. The package
    imports the same names for type checkers, as in::

        if TYPE_CHECKING:
            from ._heavy import Heavy
        else:
            __getattr__, __dir__ = lazy_exports(__name__, {"._heavy": ("Heavy",)})

    Args:
        package: the ``__name__`` of the package.
        names: the names of each module, by the module's name relative to the package.
    """
    modules = {name: module for module, exported in names.items() for name in exported}

    def __getattr__(name: str) -> object:
        owner = sys.modules[package]
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}", name=name, obj=owner)
        value: object = getattr(import_module(modules[name], package), name)
        setattr(owner, name, value)  # found without this function from now on
        return value

    def __dir__() -> list[str]:
        return sorted({*vars(sys.modules[package]), *modules})

    return __getattr__, __dir__


class LazyModule:
    """Stands for a module that only annotations need, as a global name that ``typing.get_type_hints`` can look up.

    The module is imported for type checkers, as in::

        if TYPE_CHECKING:
            from . import _types
        else:
            _types = LazyModule("._types", __package__)

    Args:
        name: the name of the module, relative to the package.
        package: the name of the package.
    """

    def __init__(self, name: str, package: str) -> None:
        self._name = name
        self._package = package

    def __getattr__(self, name: str) -> object:
        return getattr(import_module(self._name, self._package), name)
