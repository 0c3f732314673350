"""Compares docs/compatibility.md with what a run of CI has recorded (`tests.ran`): both must have the same.

python -m tests.docs.compatibility_claims FOLDER            # says what differs; fails if anything does
python -m tests.docs.compatibility_claims FOLDER --write    # writes the page anew, with the run that it was checked by
"""

from __future__ import annotations

import datetime
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

from packaging.version import Version

from ..client.test_client import NEWEST, OLDER, names
from ..ran import Combination, Record, read
from ..serve import ADAPTERS
from ..shared_stores import STORES
from .blocks import ROOT
from .compatibility import AGENTS, OTHER_SERVERS, PAGE, content, served, sessions

AT_MOST = 20
"""Sentences; where more differs, a step has not run at all."""
AS_RECORDED = ("frontend", "server", "store")
"""Kinds that the page has as tests have noted them."""


def claims() -> set[Combination]:
    """What the page says that CI runs together."""
    return {
        *(("frontend", NEWEST, name, adapter) for name in names(NEWEST) for adapter in ADAPTERS),
        *(("frontend", release, name, "asgi") for release in OLDER for name in names(release)),
        *(("server", adapter, server) for adapter, servers in served().items() for server in servers),
        *(("server", adapter, server) for server, adapters in OTHER_SERVERS.items() for adapter in adapters),
        *(("store", store) for store in STORES),
        *(("row", *row) for row in sessions()["MATRIX"]),
        *(("agents", package, line) for package in AGENTS for line in ("< 1", ">= 1")),
    }


def recorded(records: Sequence[Record]) -> set[Combination]:
    """What ran together, as the page would say it."""
    ran = {each for record in records for each in record.passed}
    return {
        *(each for each in ran if each[0] in AS_RECORDED and all(each)),
        *(("row", *row) for record in records if record.session.startswith("matrix") for row in _rows(record)),
        *(("agents", AGENTS_BY_MODULE[name], _line(record)) for record in records for _, name in _of_agents(record)),
    }


AGENTS_BY_MODULE = {module: package for package, module in AGENTS.items()}


def _of_agents(record: Record) -> Iterator[Combination]:
    return (each for each in record.passed if each[0] == "agents" and each[1] in AGENTS_BY_MODULE)


def _line(record: Record) -> str:
    return "< 1" if Version(record.versions["ag-ui-protocol"]) < Version("1") else ">= 1"


def _rows(record: Record) -> Iterator[Sequence[str]]:
    """Yields the row of the page that a session of the matrix is, or else its versions."""
    if not {("tests", "flask"), ("tests", "django")} <= record.passed:
        return
    installed = [record.python, *(record.versions[name] for name in ("flask", "django", "ag-ui-protocol"))]
    fitting = [row for row in sessions()["MATRIX"] if all(map(_fits, row, installed))]
    yield fitting[0] if fitting else [".".join(version.split(".")[:2]) for version in installed]


def _fits(claimed: str, installed: str) -> bool:
    # nox has made sure that the newest and the oldest are.
    return claimed in ("newest", "oldest") or f"{installed}.".startswith(f"{claimed}.")


def differences(records: Sequence[Record]) -> list[str]:
    """Says in sentences where the page and the records differ."""
    failed = {each for record in records for each in record.failed}
    claimed, ran = claims(), recorded(records)
    return [
        *(f"the page says {_text(each)}, and no test ran that" for each in sorted(claimed - ran)),
        *(f"tests ran {_text(each)}, and the page does not have it" for each in sorted(ran - claimed)),
        *(f"a test of {_text(each)} failed" for each in sorted(failed - ran) if each[0] in AS_RECORDED),
    ]


def _text(combination: Combination) -> str:
    return f"{combination[0]} {', '.join(combination[1:])}"


def run_of(records: Sequence[Record]) -> str:
    """The sentence that names a run, wrapped as the page is."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    versions: dict[str, set[str]] = {}
    for record in records:
        for name, version in {"Python": record.python, **record.versions}.items():
            versions.setdefault(name, set()).add(version)
    listed = "; ".join(f"{name} {', '.join(sorted(found, key=Version))}" for name, found in versions.items())
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    sentence = f"Last written from the run of {date}, of commit {commit.stdout.strip()}, which had {listed}."
    return textwrap.fill(sentence, 120, break_long_words=False, break_on_hyphens=False)


def main(folder: str, *options: str) -> None:
    records = read(Path(folder))
    if not records:
        sys.exit(f"there are no records in {folder}: run the tests with CI_RECORDS={folder}")
    if found := differences(records):
        shown = [*found[:AT_MOST], *([f"and {len(found) - AT_MOST} more"] if len(found) > AT_MOST else [])]
        sys.exit("docs/compatibility.md and this run differ:\n" + "\n".join(f"- {each}" for each in shown))
    if "--write" in options:
        PAGE.write_text(content(run_of(records)), encoding="utf-8")
    print(f"docs/compatibility.md has the {len(claims())} combinations of this run, and no others")


if __name__ == "__main__":
    main(*sys.argv[1:])
