"""Whether the runtime takes pages of its own site for those of another one."""

from __future__ import annotations

from ..examination import Examination
from ..findings import Finding, Status, ok, skipped
from ..mount import Unanswered, agent_path, new_id


async def check_host(examination: Examination) -> list[Finding]:
    """Returns whether the host name that browsers use reaches the runtime."""
    # As browsers send it: without a content type, a request needs no preflight. Paths have one that is sent like that,
    # to stop a run. An envelope without its content type is refused, but only after the host was looked at.
    fields = {"origin": examination.mount.origin, "content-type": ""}
    if examination.has_rest:
        path, expected = agent_path(examination.agent, "stop", new_id("thread")), 200
        what = "a stop request"
    else:
        path, expected, what = "", 415, "a request without a content type"
    try:
        answer = await examination.mount.request("POST", path, b"", fields)
    except Unanswered as error:
        return [skipped("host", f"{what}: {error}.")]
    if answer.status == 403 and (answer.json() or {}).get("error") == "cross_site_request":
        consequence = "" if examination.has_rest else " Envelopes are not refused, since they are JSON."
        return [
            Finding(
                check="host",
                status=Status.WRONG if examination.has_rest else Status.WARNING,
                summary=f"{what} of a page of {examination.mount.origin} is refused as one of another site: "
                f"the runtime sees another Host than the browser.{consequence}",
                advice="Have the proxy pass on the Host of the request.",
                snippet=examination.snippet("host"),
            )
        ]
    if answer.status != expected:
        return [skipped("host", f"{what} gets {answer.described()}.")]
    return [ok("host", "the runtime knows pages of its own origin by their host.")]
