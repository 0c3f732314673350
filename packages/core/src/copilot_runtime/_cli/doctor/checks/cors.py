"""What a page of another origin may do: preflights, responses and errors, with and without credentials."""

from __future__ import annotations

from urllib.parse import urlsplit

from ..cors_rules import origin_problem, preflight_problem
from ..examination import Examination
from ..findings import Finding, Status, ok, skipped
from ..mount import Answer, Unanswered, new_id, run_input

STRANGER = "https://doctor.invalid"
"""An origin that nobody has allowed by name."""

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
        plain = await _problems(examination, origin, with_credentials=False)
        with_cookies = plain if plain else await _problems(examination, origin, with_credentials=True)
        findings = _judge(examination, origin, plain, with_cookies)
        return findings + await _check_strangers(examination)
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


async def _problems(examination: Examination, origin: str, *, with_credentials: bool) -> list[str]:
    """Returns what would keep a page from working, in the order of its requests."""
    mount = examination.mount
    names = sorted({"content-type", *(name for name in mount.header_names if name != "cookie")})
    path = f"/agent/{examination.agent}/run" if examination.has_rest else ""
    requests = [("POST", path)]
    if (examination.info.get("threadEndpoints") or {}).get("mutations"):
        requests.append(("DELETE", f"/threads/{new_id('thread')}"))
    problems = []
    for method, target in requests:
        fields = {"origin": origin, "access-control-request-method": method}
        fields["access-control-request-headers"] = ",".join(names)
        answer = await mount.request("OPTIONS", target, headers=fields, as_user=False)
        problem = preflight_problem(
            answer.status,
            answer.headers,
            origin,
            with_credentials=with_credentials,
            method=method,
            header_names=names,
        )
        if problem:
            problems.append(f"the preflight of {method} {target or 'the URL'} {problem}")
    for what, response in (await _responses(examination, origin)).items():
        problem = origin_problem(response.headers, origin, with_credentials=with_credentials)
        if problem:
            problems.append(f"{what} {problem}")
    return problems


async def _responses(examination: Examination, origin: str) -> dict[str, Answer]:
    """Returns responses that a page has to be able to read; errors are among them, since it shows what they say."""
    mount, fields = examination.mount, {"origin": origin}
    body = run_input(new_id("thread"))
    if examination.has_rest:
        info = await mount.request("GET", "/info", headers=fields)
    else:
        info = await mount.request("POST", "", {"method": "info"}, fields)
    return {
        "the response of info": info,
        "a stream": await mount.call_agent("connect", examination.agent, body, headers=fields),
        "an error response": await mount.call_agent("connect", new_id("agent"), body, headers=fields),
    }


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
    response = (await _responses(examination, STRANGER))["the response of info"]
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
