"""How large a request may be on its way to the runtime."""

from __future__ import annotations

from ..examination import Examination
from ..findings import Finding, Status, ok
from ..mount import REDIRECTS, Answer, Unanswered, new_id, run_input

_MIB = 1024 * 1024
_SIZES = (2, 8)
"""In MiB: above nginx's default of 1 MB; and a conversation with a photo."""


_NOT_ABOUT_SIZE = frozenset((*REDIRECTS, 401, 403, 404, 405))


async def check_bodies(examination: Examination) -> list[Finding]:
    """Returns whether a large conversation reaches the runtime. It is sent to be replayed, which runs nothing."""
    for size in _SIZES:
        body = run_input(new_id("thread"), "x" * (size * _MIB))
        try:
            answer = await examination.mount.call_agent(
                "connect", examination.agent, body, timeout_seconds=max(60.0, examination.mount.timeout_seconds)
            )
        except Unanswered as error:
            return [_refused(examination, size, f"a body of {size} MiB: {error}", None)]
        if answer.status in _NOT_ABOUT_SIZE:
            return []  # `check_streams` has said so
        if answer.status != 200:
            return [_refused(examination, size, f"a body of {size} MiB gets {answer.described()}", answer)]
    return [
        ok("body", f"a conversation of {_SIZES[-1]} MiB, attachments included, reaches the runtime.", mib=_SIZES[-1])
    ]


def _refused(examination: Examination, size: int, summary: str, answer: Answer | None) -> Finding:
    is_ours = answer is not None and (answer.json() or {}).get("error") == "request_too_large"
    if is_ours:
        advice, snippet = "Raise it: CopilotRuntime(max_body_bytes=32 * 1024 * 1024), which is the default.", ""
    else:
        advice = (
            "The frontend sends the whole conversation with every message, attachments included: allow 32 MB where the "
            "body is limited, in the proxy or the framework."
        )
        snippet = examination.snippet("body")
    return Finding(
        check="body",
        status=Status.WRONG if size == _SIZES[0] else Status.WARNING,
        summary=f"{summary}.",
        advice=advice,
        snippet=snippet,
        measured={"mib": size},
    )
