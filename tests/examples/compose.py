"""Reads ``compose.yaml`` files: checks them, and starts the processes of their containers without containers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

_VARIABLE = re.compile(r"\$\{[A-Z_]+(:-[^}]*)?\}")
_DURATION = re.compile(r"[0-9]+(ms|s|m|h)")
_PORT = re.compile(r"127\.0\.0\.1:[0-9]+:[0-9]+")
_IMAGE = re.compile(r"[a-z0-9./-]+:[0-9][a-z0-9.-]*")

Check = Callable[[Any], bool]


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and "$" not in _VARIABLE.sub("", value)


def _matches(pattern: re.Pattern[str]) -> Check:
    return lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None


def _is_list_of(check: Check) -> Check:
    return lambda value: isinstance(value, list) and bool(value) and all(map(check, value))


def _is_map_of(check: Check) -> Check:
    return lambda value: isinstance(value, dict) and bool(value) and all(map(check, value.values()))


def _has_members(checks: Mapping[str, Check], required: str) -> Check:
    def check(value: Any) -> bool:
        if not isinstance(value, dict) or required not in value:
            return False
        return all(name in checks and checks[name](member) for name, member in value.items())

    return check


_DEPENDENCY = _has_members({"condition": lambda value: value == "service_healthy"}, "condition")
_HEALTHCHECK = _has_members(
    {
        "test": lambda value: _is_list_of(_is_text)(value) and value[0] == "CMD",
        **dict.fromkeys(("interval", "timeout", "start_period"), _matches(_DURATION)),
    },
    "test",
)
_SERVICE: Mapping[str, Check] = {
    "build": lambda value: value == ".",
    "command": _is_list_of(_is_text),
    "depends_on": _is_map_of(_DEPENDENCY),
    "environment": _is_map_of(_is_text),
    "healthcheck": _HEALTHCHECK,
    "image": _matches(_IMAGE),
    "ports": _is_list_of(_matches(_PORT)),
    "restart": lambda value: value == "unless-stopped",
    "stop_grace_period": _matches(_DURATION),
    "volumes": _is_list_of(_is_text),
}
"""The members that our files use, and whether a value is one that Compose accepts and that we want."""


def problems(document: Mapping[str, Any], folder: Path) -> Iterator[str]:
    """Yields what is wrong with a file.

    Args:
        document: What it contains.
        folder: Its folder.
    """
    for name in document:
        if name not in ("services", "volumes") and not name.startswith("x-"):
            yield f"{name}: unknown"
    services, volumes = document["services"], document.get("volumes", {})
    used: set[str] = set()
    for name, service in services.items():
        for member, value in service.items():
            if member not in _SERVICE or not _SERVICE[member](value):
                yield f"{name}.{member}: {value!r}"
        if ("image" in service) == ("build" in service):
            yield f"{name}: either an image or a build is required"
        if "build" in service and not (folder / "Dockerfile").exists():
            yield f"{name}.build: there is no Dockerfile"
        for other in service.get("depends_on", {}):
            if "healthcheck" not in services.get(other, {}):
                yield f"{name}.depends_on: {other} has no healthcheck"
        for volume in service.get("volumes", ()):
            source, *place = volume.split(":")
            if not place or not place[0].startswith("/") or place[1:] not in ([], ["ro"]):
                yield f"{name}.volumes: {volume}"
            elif source.startswith("./"):
                if not (folder / source).exists():
                    yield f"{name}.volumes: there is no {source}"
            elif source not in volumes:
                yield f"{name}.volumes: {source} is not among the volumes"
            used.add(source)
    for volume in volumes.keys() - used:
        yield f"volumes.{volume}: not used"


def default_value(text: str) -> str:
    """Returns a value of the file where no variable is set."""
    return re.sub(r"\$\{[A-Z_]+:-([^}]*)\}", r"\1", text)


def dockerfile_command(dockerfile: Path) -> list[str]:
    """Returns the command of a Dockerfile."""
    [command] = re.findall(r"^CMD (\[.*\])$", dockerfile.read_text("utf-8"), re.MULTILINE)
    arguments = json.loads(command)
    assert isinstance(arguments, list)
    return arguments
