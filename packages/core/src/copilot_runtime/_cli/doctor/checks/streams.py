"""What can be seen of streams without running an agent: the replay of a thread that does not exist."""

from __future__ import annotations

from collections.abc import Mapping

from ..advice import CSRF_ADVICE, STATUS_ADVICE
from ..examination import Examination
from ..findings import Finding, Status, ok
from ..mount import Answer, Unanswered, new_id, refuses_csrf, run_input

CLIENT_HEADERS_SECONDS = 10.0
"""How long a client waits for the header fields of a stream."""

_COMPRESSED = frozenset(("gzip", "br", "deflate", "zstd", "compress"))


def compression_of(headers: Mapping[str, str]) -> str:
    """Returns how a body is compressed; empty if it is not."""
    value = headers.get("content-encoding", "")
    return next((coding for coding in value.lower().replace(" ", "").split(",") if coding in _COMPRESSED), "")


async def check_streams(examination: Examination) -> list[Finding]:
    """Returns whether the response to a connect is a stream, as it left the runtime."""
    fields = {"accept": "text/event-stream", "accept-encoding": "gzip, deflate, br, zstd"}
    try:
        answer = await examination.mount.call_agent(
            "connect", examination.agent, run_input(new_id("thread")), headers=fields
        )
    except Unanswered as error:
        return [
            Finding(
                check="streams",
                status=Status.WRONG,
                summary=f"connect to a new thread, which is over at once: {error}.",
                advice="Streams have to end when the runtime ends them: look for something that holds them open.",
            )
        ]
    if answer.status != 200:
        return [_refused(examination, answer)]
    findings = [_stream(answer)]
    coding = compression_of(answer.headers)
    if coding:
        findings.append(
            Finding(
                check="compression",
                status=Status.WRONG,
                summary=f"streams are compressed ({coding}), although they say no-transform: an event may wait until a "
                "buffer of the compressor is full.",
                advice="Exclude text/event-stream from compression.",
                snippet=examination.snippet("compression"),
            )
        )
    else:
        findings.append(ok("compression", "streams are not compressed."))
    return findings


def _refused(examination: Examination, answer: Answer) -> Finding:
    if answer.is_redirect:
        return Finding(
            check="redirects",
            status=Status.WRONG,
            summary=f"POST .../agent/{examination.agent}/connect gets {answer.described()}, to "
            f"{answer.headers['location']}.",
            advice="Do not redirect the paths of the runtime: a POST that is redirected with 301 or 302 becomes a GET.",
        )
    advice = CSRF_ADVICE if refuses_csrf(answer) else STATUS_ADVICE.get(answer.status)
    return Finding(
        check="streams",
        status=Status.WRONG,
        summary=f"POST .../agent/{examination.agent}/connect gets {answer.described()}, although /info is answered.",
        advice=advice or "Route everything below the path to the runtime, for POST, too.",
        snippet="" if advice else examination.snippet("mount"),
    )


def _stream(answer: Answer) -> Finding:
    declared = answer.headers.get("content-type", "none")
    if not declared.lower().startswith("text/event-stream"):
        return Finding(
            check="streams",
            status=Status.WRONG,
            summary=f"the stream of a thread has the content type {declared}, not text/event-stream.",
            advice="Something between changes responses: exclude the runtime's path from it.",
        )
    if answer.seconds > CLIENT_HEADERS_SECONDS:
        return Finding(
            check="streams",
            status=Status.WRONG,
            summary=f"an empty stream took {answer.seconds:.1f} s.",
            advice="A client waits 10 s for header fields: see which part of identify_user, hooks or the store is "
            "slow.",
        )
    milliseconds = round(answer.seconds * 1000)
    return ok(
        "streams", f"a stream of a new thread began and ended within {milliseconds} ms.", milliseconds=milliseconds
    )
