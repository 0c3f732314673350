"""The agents that ``/info`` lists, and the frontends that will work with them."""

from __future__ import annotations

from ..examination import Examination
from ..findings import Finding, Status, ok


async def check_agents(examination: Examination) -> list[Finding]:
    """Returns which agents there are."""
    agents, wanted = examination.info["agents"], examination.options.agent
    names = ", ".join(list(agents)[:20])
    if not agents:
        return [
            Finding(
                check="agents",
                status=Status.WRONG,
                summary="there are no agents for this caller.",
                advice="Pass some: CopilotRuntime(agents={'default': agent}). A function of agents may return none "
                "for a user whom it does not know: send what identifies one with --header.",
            )
        ]
    if wanted is not None and wanted not in agents:
        return [
            Finding(
                check="agents",
                status=Status.WRONG,
                summary=f"there is no agent {wanted!r}, but {names}.",
                advice="Name one of them with --agent.",
            )
        ]
    if "default" not in agents:
        return [
            Finding(
                check="agents",
                status=Status.WARNING,
                summary=f"{names}. None is called default, which a frontend uses unless it names another.",
                advice=f'Name one in the frontend, <CopilotChat agentId="{next(iter(agents))}">, or call one default.',
            )
        ]
    return [ok("agents", f"{names}.", agents=list(agents))]


async def check_frontends(examination: Examination) -> list[Finding]:
    """Returns the versions of frontends that will work."""
    if examination.has_rest and examination.has_envelope:
        versions = "1.50 and newer; with agents that reason, 1.52 and newer"
    elif examination.has_envelope:
        versions = "1.50 and newer, unless configured to use REST paths"
    else:
        versions = "1.69 and newer; older ones only if they are configured to use REST paths"
    summary = f"@copilotkit/react-core {versions}."
    return [ok("frontends", summary, restPaths=examination.has_rest, singleRoute=examination.has_envelope)]
