"""Whether the runtime takes pages of its own site for those of another one."""

from __future__ import annotations

from ..examination import Examination
from ..findings import Finding, Status, ok, skipped
from ..mount import Unanswered, agent_path, new_id


async def check_host(examination: Examination) -> list[Finding]:
    """Returns whether the host name that browsers use reaches the runtime."""
    if not examination.has_rest:
        return []
    # As browsers send it: a stop without a body has no content type, so it needs no preflight.
    fields = {"origin": examination.mount.origin, "content-type": ""}
    path = agent_path(examination.agent, "stop", new_id("thread"))
    try:
        answer = await examination.mount.request("POST", path, b"", fields)
    except Unanswered as error:
        return [skipped("host", f"a stop request: {error}.")]
    if answer.status == 403 and (answer.json() or {}).get("error") == "cross_site_request":
        return [
            Finding(
                check="host",
                status=Status.WRONG,
                summary=f"a stop request of a page of {examination.mount.origin} is refused as one of another site: "
                "the runtime sees another Host than the browser.",
                advice="Have the proxy pass on the Host of the request.",
                snippet=examination.snippet("host"),
            )
        ]
    if answer.status != 200:
        return [skipped("host", f"a stop request for a new thread gets {answer.described()}.")]
    return [ok("host", "the runtime knows pages of its own origin by their host.")]
