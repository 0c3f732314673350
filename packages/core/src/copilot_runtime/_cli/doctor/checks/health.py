"""What the runtime says of its processes, where ``healthz`` is on."""

from __future__ import annotations

import asyncio
from typing import Any

from ..examination import Examination
from ..findings import Finding, Status, ok, skipped
from ..mount import Answer, Unanswered, members

REQUESTS = 12
"""How many requests at once look for further processes."""
ROUNDS = 3


async def check_health(examination: Examination) -> list[Finding]:
    """Returns how the processes that answer are, and whether they share a store."""
    reports: list[dict[str, Any]] = []
    for _ in range(ROUNDS):  # one process may take all connections of a moment
        results = await asyncio.gather(*(_ask(examination) for _ in range(REQUESTS)))
        answers = [result for result in results if isinstance(result, Answer)]
        failures = [result for result in results if isinstance(result, Unanswered)]
        if failures:
            return [skipped("health", f"{REQUESTS} requests at once: {failures[0]}.")]
        reports += [report for answer in answers if answer.status in (200, 503) and (report := _report(answer))]
        if len({str(report["process"].get("id")) for report in reports}) != 1:
            break
    if not reports:
        return [skipped("health", "healthz is off: CopilotRuntime(healthz=True) shows processes and their store.")]
    return [_processes(examination, reports), *_single_threaded(examination, reports), *_failing(reports)]


async def _ask(examination: Examination) -> Answer | Unanswered:
    try:
        return await examination.mount.request("GET", "/healthz")
    except Unanswered as error:
        return error


def _report(answer: Answer) -> dict[str, Any] | None:
    report = answer.json()
    return report if report is not None and isinstance(report.get("process"), dict) else None


def _processes(examination: Examination, reports: list[dict[str, Any]]) -> Finding:
    ids = {str(report["process"].get("id")) for report in reports}
    kinds = sorted({str(members(report.get("store")).get("kind")) for report in reports})
    described = f"{len(ids)} {'process' if len(ids) == 1 else 'processes'} with the store {', '.join(kinds)}"
    is_shared = all(members(report.get("store")).get("shared", True) for report in reports)
    if len(ids) > 1 and not is_shared:
        return Finding(
            check="processes",
            status=Status.WRONG,
            summary=f"{described}, which each of them has for itself: a reload or a stop finds its run only if it "
            "happens to reach the process that runs it.",
            advice="Use a store that the processes share, or one process.",
            snippet=examination.snippet("store"),
            measured={"processes": len(ids)},
        )
    return ok("processes", f"{described}.", processes=len(ids))


def _single_threaded(examination: Examination, reports: list[dict[str, Any]]) -> list[Finding]:
    servers = [server for report in reports if isinstance(server := report.get("server"), dict)]
    if all(server.get("multithread", True) for server in servers):
        return []
    return [
        Finding(
            check="workers",
            status=Status.WRONG,
            summary="each process of the server handles one request at a time: while a stream is open, it answers "
            "nothing else, and no stop request gets in.",
            advice="Use worker threads.",
            snippet=examination.snippet("threads"),
        )
    ]


def _failing(reports: list[dict[str, Any]]) -> list[Finding]:
    failing = [report for report in reports if report.get("status") != "ok"]
    if not failing:
        return []
    parts = [
        f"{name}: {part}"
        for name in ("store", "loop", "runs", "streams")
        if isinstance(part := failing[0].get(name), dict)
    ]
    return [
        Finding(
            check="health",
            status=Status.WRONG,
            summary=f"healthz says {failing[0].get('status')}: {'; '.join(parts)[:400]}.",
            advice="The log of the server says what fails (loggers copilot_runtime.*).",
        )
    ]
