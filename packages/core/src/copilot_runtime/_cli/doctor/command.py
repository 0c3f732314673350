"""Carries out ``copilot-runtime doctor``."""

from __future__ import annotations

import asyncio
import io
import os
import sys
from collections.abc import Awaitable, Callable

from ..errors import CommandError
from .checks.agents import check_agents, check_frontends
from .checks.bodies import check_bodies
from .checks.cors import check_cors
from .checks.health import check_health
from .checks.run import check_run
from .checks.same_origin import check_host
from .checks.streams import check_streams
from .examination import Examination
from .findings import Finding, Status
from .mount import Mount
from .options import DoctorOptions
from .presentable import presentable, text_filter
from .reach import reach
from .render import finding_text, report_json, summary_text

_CHECKS: tuple[Callable[[Examination], Awaitable[list[Finding]]], ...] = (
    check_agents,
    check_frontends,
    check_streams,
    check_bodies,
    check_cors,
    check_host,
    check_health,
    check_run,
)


def doctor(options: DoctorOptions) -> int:
    """Looks at a mount, prints what was found, and returns the exit code: 1 if something is wrong."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal or a log may lack the characters that a server sends.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        return asyncio.run(_doctor(options))
    except BrokenPipeError:
        # As of `| head`. Without this, the interpreter would complain at its end that it cannot write the rest.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130


async def _doctor(options: DoctorOptions) -> int:
    findings: list[Finding] = []
    clean = text_filter(options)

    def report(finding: Finding) -> None:
        finding = presentable(finding, clean)
        findings.append(finding)
        if not options.as_json:
            print(finding_text(finding), flush=True)

    try:
        mount = Mount(options.url, options.headers, options.timeout_seconds)
    except (ValueError, ImportError) as error:
        raise CommandError(f"the proxy of HTTP_PROXY, HTTPS_PROXY or ALL_PROXY cannot be used: {error}") from error
    async with mount:
        if not options.as_json:
            print(_introduction(options), flush=True)
        examination = await reach(mount, options, report)
        if examination is not None:
            for check in _CHECKS:
                for finding in await check(examination):
                    report(finding)
        if options.as_json:
            print(report_json(clean(mount.url), mount.software.names, findings))
        else:
            print(f"\n{summary_text(findings)}")
    return 1 if any(finding.status is Status.WRONG for finding in findings) else 0


def _introduction(options: DoctorOptions) -> str:
    text = f"Looking at {options.url} as a page of {options.origin or 'its own origin'} would.\n"
    if options.agent is not None:
        text += f"This runs the agent {options.agent!r} once, with the message {options.message!r}, and stops it.\n"
    return text
