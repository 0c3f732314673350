"""The report: text for people, or JSON for programs."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence

from ..._version import __version__
from .findings import Finding, Status

_WIDTH = 100
_INDENT = " " * 9


def finding_text(finding: Finding) -> str:
    """Returns a finding as lines of text."""
    lines = textwrap.wrap(
        f"{finding.check}: {finding.summary}",
        _WIDTH,
        initial_indent=f"{finding.status:<8} ",
        subsequent_indent=_INDENT,
        break_long_words=False,
        break_on_hyphens=False,
    )
    if finding.advice:
        lines += textwrap.wrap(
            finding.advice,
            _WIDTH,
            initial_indent=f"{_INDENT}-> ",
            subsequent_indent=f"{_INDENT}   ",
            break_long_words=False,
            break_on_hyphens=False,
        )
    if finding.snippet:
        lines += [f"{_INDENT}       {line}".rstrip() for line in finding.snippet.splitlines()]
    return "\n".join(lines)


def summary_text(findings: Sequence[Finding]) -> str:
    """Returns the last line of the report."""
    wrong = sum(finding.status is Status.WRONG for finding in findings)
    warnings = sum(finding.status is Status.WARNING for finding in findings)
    if not wrong and not warnings:
        return "Nothing is wrong with what was looked at."
    found = [f"{wrong} {'thing is' if wrong == 1 else 'things are'} wrong"] if wrong else []
    found += [f"{warnings} {'warning' if warnings == 1 else 'warnings'}"] if warnings else []
    return f"{', '.join(found)}."


def report_json(url: str, software: Sequence[str], findings: Sequence[Finding]) -> str:
    """Returns the report as JSON.

    Args:
        url: the URL that was looked at.
        software: the servers, proxies and frameworks that were recognised.
        findings: what was found.
    """
    document = {
        "doctor": __version__,
        "url": url,
        "software": list(software),
        "ok": not any(finding.status is Status.WRONG for finding in findings),
        "findings": [
            {
                "check": finding.check,
                "status": str(finding.status),
                "summary": finding.summary,
                **({"advice": finding.advice} if finding.advice else {}),
                **({"snippet": finding.snippet} if finding.snippet else {}),
                **({"measured": dict(finding.measured)} if finding.measured else {}),
            }
            for finding in findings
        ],
    }
    return json.dumps(document, indent=2)
