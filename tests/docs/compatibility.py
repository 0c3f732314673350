"""Writes docs/compatibility.md from the lists that the tests and CI's sessions are made of.

python -m tests.docs.compatibility    # writes the page anew

`tests.docs.compatibility_claims` compares the page with what has run.
"""

from __future__ import annotations

import ast
import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from packaging.requirements import Requirement

from ..client.test_client import NEWEST, OLDER, SCENARIOS, names
from ..serve import ADAPTERS
from ..shared_stores import STORES
from .blocks import ROOT

PAGE = ROOT / "docs" / "compatibility.md"
YES, NO = "yes", ""

TITLES = {
    "asgi": "ASGI: FastAPI, Starlette, others",
    "wsgi": "WSGI",
    "flask": "Flask",
    "django-wsgi": "Django, WSGI",
    "django-asgi": "Django, ASGI",
    "gunicorn gthread": "gunicorn, `gthread`",
    "gunicorn gevent": "gunicorn, `gevent`",
    "gunicorn sync": "gunicorn, `sync`: one client at a time, with a warning",
    "flask run": "`flask run`",
    "runserver": "`manage.py runserver`",
    "gunicorn UvicornWorker": "gunicorn with `UvicornWorker`",
    "gunicorn asgi": "gunicorn with its own `asgi` worker",
    "uwsgi": "uWSGI",
}

INTRODUCTION = """\
# Compatibility

What CI runs together, with versions and servers as they are, and no stand-ins. At its end, each run of CI compares this
page with what its tests have recorded, and fails if the page has anything that did not run and pass, or lacks anything
that did. What is not here may work, and is not tested. The promises are in [versions.md](versions.md).
"""


@cache
def sessions() -> Mapping[str, Any]:
    """The constants of noxfile.py, which is not imported: what runs the tests may not have nox."""
    found: dict[str, Any] = {"OLDEST_AGUI": "oldest"}
    for node in ast.parse((ROOT / "noxfile.py").read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            try:
                found[node.targets[0].id] = _value(node.value, found)
            except ValueError:
                continue
    return found


def _value(node: ast.expr, names: Mapping[str, Any]) -> Any:
    if isinstance(node, ast.Name) and node.id in names:
        return names[node.id]
    if isinstance(node, ast.List | ast.Tuple):
        return [_value(each, names) for each in node.elts]
    return ast.literal_eval(node)


def table(*rows: Sequence[str]) -> str:
    head, *rest = rows
    return "".join(f"| {' | '.join(row)} |\n" for row in (head, ["---"] * len(head), *rest))


def npm_versions() -> dict[str, str]:
    return dict(json.loads((ROOT / "tests/client/package.json").read_text("utf-8"))["dependencies"])


def frontends() -> Iterator[str]:
    """Yields the releases of the client, and what is played with each."""
    versions = npm_versions()
    packages = {NEWEST: "@copilotkit/core", **{release: f"copilotkit-core-{release}" for release in OLDER}}
    exact = {release: versions[package].rpartition("@")[2] for release, package in packages.items()}
    releases = [NEWEST, *reversed(OLDER)]
    head = ["what is played", *(exact[release] for release in releases)]
    rows = [
        [scenario.replace("-", " "), *(_transports(scenario, release) for release in releases)]
        for scenario in SCENARIOS
    ]
    yield "\n## Frontends\n\n`@copilotkit/core`: the newest one against every adapter, older ones against one.\n\n"
    yield table(head, *rows)
    readers = [spec.rpartition("@")[2] for name, spec in versions.items() if "ag-ui" in name]
    yield f"\nEvery stream is also read with `@ag-ui/client` {', '.join(sorted(readers))}.\n"


def _transports(scenario: str, release: str) -> str:
    played = [name.rpartition("/")[2] for name in names(release) if name.startswith(f"{scenario}/")]
    return {"rest": "REST", "single": "one URL", "rest, single": "REST, one URL"}.get(", ".join(played), NO)


def served() -> dict[str, list[str]]:
    """The servers that tests run with each adapter."""
    development = {"flask": ["flask run"], "django-wsgi": ["runserver"]}
    servers = {
        name: [
            *(f"gunicorn {server}" if server in WORKER_CLASSES else server for server in adapter.servers),
            *development.get(name, ()),
        ]
        for name, adapter in ADAPTERS.items()
    }
    return {name: [each for each in found if (name, each) not in NOT_TESTED] for name, found in servers.items()}


def servers() -> str:
    found = list(dict.fromkeys(server for servers in served().values() for server in servers))
    rows = [
        [TITLES.get(name, name), *(YES if name in servers else NO for servers in served().values())] for name in found
    ]
    others = [
        f"- {TITLES.get(name, name)}: {' and '.join(_PLAIN[each] for each in adapters)}\n"
        for name, adapters in OTHER_SERVERS.items()
    ]
    return (
        f"\n## Servers and frameworks\n\n{table(['server', *(TITLES[each] for each in ADAPTERS)], *rows)}"
        f"\nAlso, for what a shutdown leaves of runs:\n\n{''.join(others)}"
        f"\nStores that processes share, below servers with several workers: {', '.join(STORES)}.\n"
    )


_PLAIN = {"asgi": "ASGI", "wsgi": "WSGI", "django-asgi": "Django under ASGI"}


def pythons() -> str:
    rows = [[python, flask, django, agui] for python, flask, django, agui in sessions()["MATRIX"]]
    return f"\n## Pythons and frameworks\n\n{table(['Python', 'Flask', 'Django', '`ag-ui-protocol`'], *rows)}"


def agents() -> str:
    lines = re.findall(r'nox\.param\("ag-ui-protocol(>=|<)1"', (ROOT / "noxfile.py").read_text("utf-8"))
    columns = [f"`ag-ui-protocol` {line} 1" for line in dict.fromkeys(lines)]
    extras = tomllib.loads((ROOT / "packages/core/pyproject.toml").read_text("utf-8"))["project"][
        "optional-dependencies"
    ]
    requirements = [Requirement(item) for name in ("pydantic-ai", "langgraph") for item in extras[name]]
    rows = [
        [f"`{item.name}`", str(item.specifier), *(YES for _ in columns)] for item in requirements if item.name in AGENTS
    ]
    return f"\n## Agents of other frameworks\n\n{table(['agents of', 'version', *columns], *rows)}"


AGENTS = {"pydantic-ai-slim": "pydantic_ai", "ag-ui-langgraph": "ag_ui_langgraph", "langgraph": "langgraph"}
"""Packages of agents, and their modules."""

WORKER_CLASSES = ("gthread", "gevent", "sync")
NOT_TESTED = {("flask", "gunicorn sync"), ("django-wsgi", "gunicorn sync")}
"""What no test starts: that a worker serves one client at a time depends on no adapter."""

OTHER_SERVERS: Mapping[str, Sequence[str]] = {
    "gunicorn UvicornWorker": ("asgi",),
    "gunicorn asgi": ("asgi",),
    "hypercorn": ("asgi", "django-asgi"),
    "granian": ("asgi", "wsgi"),
    "uwsgi": ("wsgi",),
    "cheroot": ("wsgi",),
}


def content(run: str = "") -> str:
    """Returns the page.

    Args:
        run: the sentence about the run that it was written from; the page's own unless given.
    """
    paragraphs = PAGE.read_text("utf-8").split("\n\n")
    run = run or next((each for each in paragraphs if each.startswith("Last written")), "")
    return "".join((INTRODUCTION, f"\n{run}\n" if run else "", *frontends(), servers(), pythons(), agents()))


if __name__ == "__main__":
    PAGE.write_text(content(), encoding="utf-8")
