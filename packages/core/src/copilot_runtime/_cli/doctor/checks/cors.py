"""What a page of another origin may do: preflights, responses and errors, with and without credentials."""

from __future__ import annotations

import functools
from collections.abc import Callable
from urllib.parse import urlsplit

from ..cors_rules import origin_problem, preflight_problem
from ..examination import Examination
from ..findings import Finding, Status, ok, skipped
from ..mount import Answer, Unanswered, agent_path, members, new_id, run_input

STRANGER = "https://doctor.invalid"
"""An origin that nobody has allowed by name."""

_NOT_IN_PREFLIGHTS = frozenset(("accept-language", "content-language", "cookie", "referer", "user-agent"))
"""Header fields that a browser sends by itself, or with any value."""

_Problem = Callable[[bool], str]
"""Returns what is wrong with a response for a page, with or without credentials; empty if nothing is."""

_LOCAL_HOSTS = frozenset(("localhost", "127.0.0.1", "::1"))


async def check_cors(examination: Examination) -> list[Finding]:
    """Returns what a browser would let pages of the origin do."""
    origin = examination.options.origin
    if origin is None:
        return [
            skipped("cors", "not looked at: --origin names the origin of your pages, if it is not that of the URL.")
        ]
    if examination.page_origin is None:
        return [ok("cors", f"pages of {origin} have the origin of the runtime, and need no CORS.")]
    mixed = _mixed_content(examination, origin)
    if mixed:
        return [mixed]
    try:
        seen = [*await _preflights(examination, origin), *await _responses(examination, origin)]
        plain, with_cookies = (
            [text for each in seen if (text := each(with_credentials))] for with_credentials in (False, True)
        )
        return _judge(examination, origin, plain, with_cookies) + await _check_strangers(examination)
    except Unanswered as error:
        return [Finding(check="cors", status=Status.WRONG, summary=f"a request of another origin: {error}.")]


def _mixed_content(examination: Examination, origin: str) -> Finding | None:
    url = urlsplit(examination.mount.url)
    if not origin.startswith("https:") or url.scheme != "http" or url.hostname in _LOCAL_HOSTS:
        return None
    return Finding(
        check="cors",
        status=Status.WRONG,
        summary=f"browsers let a page of {origin} send nothing to http:// (mixed content).",
        advice="Serve the runtime with https, too.",
    )


async def _preflights(examination: Examination, origin: str) -> list[_Problem]:
    """Sends the preflights of a page, and returns what would keep its requests from being sent."""
    mount = examination.mount
    names = sorted({"content-type", *(name for name in mount.header_names if name not in _NOT_IN_PREFLIGHTS)})
    requests = [("POST", agent_path(examination.agent, "run") if examination.has_rest else "")]
    if members(examination.info.get("threadEndpoints")).get("mutations"):
        path = f"/threads/{new_id('thread')}"
        requests += [("PATCH", path), ("DELETE", path)]
    problems: list[_Problem] = []
    for method, target in requests:
        fields = {"origin": origin, "access-control-request-method": method}
        fields["access-control-request-headers"] = ",".join(names)
        answer = await mount.request("OPTIONS", target, headers=fields, as_user=False)
        problem = functools.partial(
            _preflight_problem, answer, origin, method=method, header_names=names, target=target or "the URL"
        )
        problems.append(problem)
    return problems


def _preflight_problem(
    answer: Answer, origin: str, with_credentials: bool, *, method: str, header_names: list[str], target: str
) -> str:
    problem = preflight_problem(
        answer.status,
        answer.headers,
        origin,
        with_credentials=with_credentials,
        method=method,
        header_names=header_names,
    )
    return f"the preflight of {method} {target} {problem}" if problem else ""


async def _responses(examination: Examination, origin: str) -> list[_Problem]:
    """Sends requests of a page, and returns what would keep it from reading the responses, errors among them."""
    mount, fields, body = examination.mount, {"origin": origin}, run_input(new_id("thread"))
    answers = {
        "the response of info": await _info(examination, origin),
        "a stream": await mount.call_agent("connect", examination.agent, body, headers=fields),
        "an error response": await mount.call_agent("connect", new_id("agent"), body, headers=fields),
    }
    return [functools.partial(_response_problem, what, answer, origin) for what, answer in answers.items()]


async def _info(examination: Examination, origin: str) -> Answer:
    if examination.has_rest:
        return await examination.mount.request("GET", "/info", headers={"origin": origin})
    return await examination.mount.request("POST", "", {"method": "info"}, {"origin": origin})


def _response_problem(what: str, answer: Answer, origin: str, with_credentials: bool) -> str:
    problem = origin_problem(answer.headers, origin, with_credentials=with_credentials)
    return f"{what} {problem}" if problem else ""


def _judge(examination: Examination, origin: str, plain: list[str], with_cookies: list[str]) -> list[Finding]:
    needs_credentials = "cookie" in examination.mount.header_names
    if plain or (with_cookies and needs_credentials):
        found = plain or with_cookies
        advice = "Allow the origin by name, in the runtime alone: no other CORS middleware is needed for its path."
        if any("is answered with 401" in each or "is answered with 403" in each for each in found):
            advice = "Preflights carry no credentials: let OPTIONS pass without a user, in the proxy and in middleware."
        return [
            Finding(
                check="cors",
                status=Status.WRONG,
                summary=f"a browser keeps pages of {origin} from the runtime: {'; '.join(found)}.",
                advice=advice,
                snippet=examination.snippet("cors", origin=origin, credentials=str(needs_credentials)),
            )
        ]
    findings = [ok("cors", f"pages of {origin} can use the runtime.")]
    if with_cookies:
        findings.append(
            Finding(
                check="cors",
                status=Status.WARNING,
                summary=f"with credentials they cannot: {'; '.join(with_cookies)}.",
                advice='Only needed if users have cookies of the runtime\'s site, <CopilotKit credentials="include">.',
                snippet=examination.snippet("cors", origin=origin, credentials="True"),
            )
        )
    else:
        findings.append(ok("cors", "they can also send cookies (credentials)."))
    return findings


async def _check_strangers(examination: Examination) -> list[Finding]:
    """Returns a finding if pages of every site can act for a user."""
    response = await _info(examination, STRANGER)
    if origin_problem(response.headers, STRANGER, with_credentials=True):
        return []
    return [
        Finding(
            check="cors",
            status=Status.WRONG,
            summary="pages of every site may send cookies to it and read the responses: each of them can act for a "
            "user who visits it.",
            advice="Name the origins, and look for a proxy or middleware that reflects the Origin of every request.",
            snippet=examination.snippet("cors", origin=examination.options.origin or "", credentials="True"),
        )
    ]
