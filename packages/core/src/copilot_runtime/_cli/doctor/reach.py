"""Finds the runtime behind a URL, and the transports on which it answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from .advice import CSRF_ADVICE, STATUS_ADVICE
from .examination import Examination, mount_snippet
from .findings import Finding, Status, ok
from .mount import Answer, Mount, Unanswered, new_id, refuses_csrf, resolved
from .options import DoctorOptions

INFO_SECONDS = 5.0
"""How long a client waits for ``/info`` after a request has failed."""

_MAX_REDIRECTS = 5
_USUAL_PATHS = ("/api/copilotkit", "/copilotkit")
_ENVELOPE = {"method": "info"}


def _wrong(check: str, summary: str, advice: str = "", snippet: str = "") -> Finding:
    return Finding(check=check, status=Status.WRONG, summary=summary, advice=advice, snippet=snippet)


async def reach(mount: Mount, options: DoctorOptions, report: Callable[[Finding], None]) -> Examination | None:
    """Returns what there is to examine; None if nothing answers as a runtime."""
    try:
        by_path = await mount.request("GET", "/info")
        if by_path.is_redirect:
            followed = await _follow(mount, by_path, report)
            if followed is None:
                return None
            by_path = followed
        by_envelope = await mount.request("POST", "", _ENVELOPE)
    except Unanswered as error:
        report(_wrong("reachable", f"{mount.url}: {error}.", _advice_for(error, mount.url)))
        return None
    info, enveloped = _info_of(by_path), _info_of(by_envelope)
    await _recognise(mount)
    # A runtime recognises /info by the end of the path, so also below itself.
    is_too_long = enveloped is None and mount.base.endswith("/info")
    described = info or enveloped
    if described is None or is_too_long:
        report(await _unknown(mount, by_path, by_envelope))
        return None
    mount.transport = "rest" if info is not None else "single"
    first = by_path if info is not None else by_envelope
    report(_reachable(first, described.get("version")))
    report(_transports(mount, by_path, by_envelope))
    agents = described["agents"]
    agent = "default" if "default" in agents else next(iter(agents), "default")
    return Examination(
        mount=mount,
        options=options,
        info=described,
        has_rest=info is not None,
        has_envelope=enveloped is not None,
        agent=agent,
    )


def _advice_for(error: Unanswered, url: str) -> str:
    if error.is_timeout:
        return _TOO_SLOW
    if error.is_broken_off and url.startswith("http:"):
        return f"{_NOT_THERE} If the port speaks TLS, write https://."
    return next((advice for sign, advice in _UNREACHABLE.items() if sign in str(error)), _NOT_THERE)


_UNREACHABLE = {
    "CERTIFICATE_VERIFY_FAILED": "Browsers refuse this certificate, too, unless they know who has signed it: use one "
    "that they accept for this host name. SSL_CERT_FILE names the certificate of an authority of your own.",
    "SSL": "The port does not speak TLS: write http://, or the port of the proxy that terminates TLS.",
    **dict.fromkeys(
        ("Name or service not known", "nodename nor servname", "getaddrinfo failed", "No address associated"),
        "The host name does not exist, or is not known here.",
    ),
}
"""Advice by a part of the reason why there is no connection."""

_NOT_THERE = "Start the application, and compare scheme, host and port with what its server prints when it starts."
_TOO_SLOW = (
    "Something accepts the connection and does not answer: all workers may be busy (a WSGI server with one thread "
    "serves one stream at a time), or an event loop is blocked by synchronous code."
)


def _info_of(answer: Answer) -> dict[str, Any] | None:
    members = answer.json() if answer.status == 200 else None
    return members if members is not None and isinstance(members.get("agents"), dict) else None


def _reachable(answer: Answer, version: object) -> Finding:
    milliseconds = round(answer.seconds * 1000)
    summary = f"a CopilotKit runtime, version {version}, answered within {milliseconds} ms."
    if answer.seconds > INFO_SECONDS:
        return _wrong("reachable", f"{summary} Frontends give up on /info after {INFO_SECONDS:g} s.", _TOO_SLOW)
    if answer.http_version == "HTTP/1.0":
        return Finding(
            check="reachable",
            status=Status.WARNING,
            summary=f"{summary} It speaks HTTP/1.0, with which half of an answer looks complete.",
            advice="Use a server with HTTP/1.1, and between nginx and the server `proxy_http_version 1.1;`.",
        )
    return ok("reachable", summary, milliseconds=milliseconds)


async def _follow(mount: Mount, answer: Answer, report: Callable[[Finding], None]) -> Answer | None:
    """Reports a redirect of ``/info``, and looks at the mount behind it; None if nothing may be sent there."""
    before, status, failure = mount.base, answer.status, None
    target = resolved(f"{before}/info", answer.headers["location"])
    for _ in range(_MAX_REDIRECTS):
        mount_url = _mount_of(target)
        if mount_url is None or (mount.header_names and not _may_get_secrets(mount.url, mount_url)):
            break
        mount.url = mount_url
        try:
            answer = await mount.request("GET", "/info")
        except Unanswered as error:
            failure = error
            break
        if not answer.is_redirect:
            break
        target = resolved(f"{mount.base}/info", answer.headers["location"])
    is_elsewhere = mount.header_names and not _may_get_secrets(before, _mount_of(target) or before)
    if is_elsewhere:
        advice = (
            "If that is your runtime, write its URL in the frontend, and here: the headers of --header are not sent "
            "to another host, nor without TLS."
        )
    elif mount.base != before:
        advice = (
            f'Write the URL that needs no redirect in the frontend: runtimeUrl="{mount.base}". It is what the rest of '
            "this report is about."
        )
    else:
        advice = (
            "Exclude the path of the runtime from the redirect. If it leads to a login, let the frontend send what "
            "identifies the user (--header here), and answer the others with 401."
        )
    report(
        _wrong(
            "redirects",
            f"GET {before}/info is redirected to {target} ({status}). A browser turns a POST that is redirected with "
            "301 or 302 into a GET, and follows no redirect of a preflight.",
            advice,
        )
    )
    if failure is not None:
        raise failure
    return None if is_elsewhere else answer


def _mount_of(target: str) -> str | None:
    """Returns the URL of the mount to whose ``/info`` a redirect leads; None if it leads to something else."""
    try:
        parts = urlsplit(target)
    except ValueError:
        return None
    path = parts.path.rstrip("/")
    if parts.scheme not in ("http", "https") or not path.endswith("/info"):
        return None
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=host, path=path.removesuffix("/info"), query="", fragment="").geturl()


def _may_get_secrets(before: str, after: str) -> bool:
    """Returns whether a redirect stays on its host, and with TLS if it had that."""
    old, new = urlsplit(before), urlsplit(after)
    return old.hostname == new.hostname and (new.scheme == "https" or old.scheme == "http")


async def _recognise(mount: Mount) -> None:
    """Looks at how the server answers a path that nobody knows, which tells its framework."""
    origin = urlsplit(mount.url)._replace(path="", query="", fragment="").geturl()
    try:
        answer = await mount.request("GET", url=f"{origin}/{new_id('path')}", headers={"accept": "text/html"})
    except Unanswered:
        return
    if answer.status == 404:
        mount.software = mount.software.seen_in_page(answer.body.decode("utf-8", "replace"))


# --- transports ---


def _transports(mount: Mount, by_path: Answer, by_envelope: Answer) -> Finding:
    has_paths, has_envelope = _info_of(by_path) is not None, _info_of(by_envelope) is not None
    if has_paths and has_envelope:
        return ok(
            "transports", "both kinds of frontend are served on this URL: REST paths, and one URL for everything."
        )
    if has_envelope:
        return Finding(
            check="transports",
            status=Status.WARNING,
            summary=f"only POST {mount.url} is answered: GET {mount.base}/info gets {by_path.described()}. Frontends "
            "that use REST paths, and thread lists of older ones, do not work.",
            advice='Route the path and everything below it to the runtime, and leave mode at "auto".',
            snippet=mount_snippet(mount, "mount"),
        )
    said = by_envelope.json() or {}
    if said.get("code") == "single_route_envelope_against_multi_route_runtime":
        return Finding(
            check="transports",
            status=Status.WARNING,
            summary="only REST paths are served. Frontends before 1.69 send everything to one URL and do not work.",
            advice='Leave out mode="multi-route": the default, "auto", serves both. A Node runtime serves one of them.',
        )
    if by_envelope.is_redirect:
        target = resolved(mount.url, by_envelope.headers["location"])
        return _wrong(
            "transports",
            f"POST {mount.url} is redirected to {target} ({by_envelope.status}): frontends before 1.69 send "
            "everything to this URL, and pages of other origins cannot reach it at all, since a browser follows no "
            "redirect of a preflight.",
            "Mount the runtime so that the path without a slash at its end reaches it, too.",
            mount_snippet(mount, "mount"),
        )
    if refuses_csrf(by_envelope):
        return _wrong("transports", f"POST {mount.url} gets {by_envelope.described()}.", CSRF_ADVICE)
    return _wrong(
        "transports",
        f"POST {mount.url} gets {by_envelope.described()}: frontends before 1.69 send everything to this URL.",
        "Route the path itself to the runtime, for POST, too, not only what is below it.",
        mount_snippet(mount, "mount"),
    )


# --- no runtime ---


async def _unknown(mount: Mount, by_path: Answer, by_envelope: Answer) -> Finding:
    """Returns why there seems to be no runtime."""
    got = f"GET {mount.base}/info gets {by_path.described()}, and POST {mount.url} {by_envelope.described()}"
    statuses = {by_path.status, by_envelope.status}
    advice = next((advice for status, advice in STATUS_ADVICE.items() if status in statuses), None)
    if advice is not None:
        return _wrong("reachable", f"{got}.", advice)
    if 400 in statuses and "django" in mount.software.names:
        return _wrong("reachable", f"{got}.", "Django refuses unknown host names: add this one to ALLOWED_HOSTS.")
    found = await _search(mount)
    if found is not None:
        return _wrong("reachable", f"{got}. There is a runtime at {found}.", f'Write runtimeUrl="{found}".')
    if by_path.status == 200 and by_path.content_type == "text/html":
        return _wrong(
            "reachable",
            f"GET {mount.base}/info gets a page in place of JSON: this path leads to the frontend, or to a login.",
            "Route the path, and everything below it, to the Python application: in vite.config.js with "
            "server.proxy, in Next.js with rewrites(), in nginx with a location.",
        )
    return _wrong(
        "reachable",
        f"{got}. There is no runtime here.",
        "Mount it at this path, or look at the path where it is mounted.",
        mount_snippet(mount, "mount"),
    )


async def _search(mount: Mount) -> str | None:
    """Returns the URL of a runtime at one of the usual places."""
    parts = urlsplit(mount.base)
    paths = {parts.path.removesuffix("/info"), *(f"{parts.path}{path}" for path in _USUAL_PATHS), *_USUAL_PATHS}
    for path in sorted(paths - {parts.path}):
        url = parts._replace(path=path).geturl()
        try:
            if _info_of(await mount.request("GET", url=f"{url}/info")) is not None:
                return url
        except Unanswered:
            continue
    return None
