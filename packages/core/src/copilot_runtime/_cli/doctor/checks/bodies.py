"""How large a request may be on its way to the runtime."""

from __future__ import annotations

from ..examination import Examination
from ..findings import Finding, Status, ok, skipped
from ..mount import Answer, Unanswered, new_id, run_input

_MIB = 1024 * 1024
_SIZES = (2, 8)
"""In MiB: above nginx's default of 1 MB; and a conversation with a photo."""
_RATE_LIMITED = 429


async def check_bodies(examination: Examination) -> list[Finding]:
    """Returns whether a large conversation reaches the runtime. It is sent to be replayed, which runs nothing."""
    for size in _SIZES:
        answer = await _send(examination, size)
        if isinstance(answer, Answer) and answer.status == 200:
            continue
        seen = f" gets {answer.described()}" if isinstance(answer, Answer) else f": {answer}"
        if isinstance(answer, Answer) and answer.status == _RATE_LIMITED:
            return [skipped("body", f"not seen: a body of {size} MiB{seen}, which is a rate limit.")]
        if isinstance(answer, Unanswered) and answer.is_timeout:
            return [skipped("body", f"not seen: a body of {size} MiB{seen}. The connection may be slow.")]
        # The server may be busy, or refuse requests of any size.
        small = await _send(examination, 0)
        if not isinstance(small, Answer) or small.status != 200:
            return [skipped("body", f"not seen: a body of {size} MiB{seen}, and a small one is not answered, either.")]
        return [_refused(examination, size, f"a body of {size} MiB{seen}", answer)]
    return [
        ok("body", f"a conversation of {_SIZES[-1]} MiB, attachments included, reaches the runtime.", mib=_SIZES[-1])
    ]


async def _send(examination: Examination, size: int) -> Answer | Unanswered:
    body = run_input(new_id("thread"), "x" * (size * _MIB))
    seconds = max(60.0, examination.mount.timeout_seconds)
    try:
        return await examination.mount.call_agent("connect", examination.agent, body, timeout_seconds=seconds)
    except Unanswered as error:
        return error


def _refused(examination: Examination, size: int, summary: str, answer: Answer | Unanswered) -> Finding:
    is_ours = isinstance(answer, Answer) and (answer.json() or {}).get("error") == "request_too_large"
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
