"""The ASGI adapter in other ASGI applications: as a route, below mounts of every kind, and on hosts with faults."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest

from copilot_runtime import CopilotRuntime
from copilot_runtime_asgi import create_copilot_asgi_app

from .http_client import Client, run_input, types, unique
from .servers import serve_app
from .test_servers import BASES, body_of, check_routes, env_of
from .test_streams import steps

# --- routes ---------------------------------------------------------------------------

ROUTED = ["routed_in_starlette", "routed_in_fastapi", "endpoint_in_starlette"]


@pytest.mark.requirement("ASGI-04")
@pytest.mark.parametrize("base", BASES[:2], ids=str)
@pytest.mark.parametrize("factory", ROUTED)
def test_to_asgi_and_copilot_endpoint_as_a_route(factory: str, base: str | None) -> None:
    name = f"tests.fixtures.mounted_apps:{factory}"
    with serve_app("asgi", name, mount="/mounted", env=env_of(base)) as server:
        check_routes(Client(server, "/mounted"), "")
        assert body_of(server, "/") == b"host"


DEPENDENT = ["dependent_in_fastapi", "dependent_in_a_fastapi_router"]


@pytest.mark.requirement("ASGI-04")
@pytest.mark.parametrize("base", BASES[:2], ids=str)
@pytest.mark.parametrize("factory", DEPENDENT)
def test_copilot_endpoint_with_dependencies(factory: str, base: str | None) -> None:
    name = f"tests.fixtures.mounted_apps:{factory}"
    with serve_app("asgi", name, mount="/mounted", env=env_of(base)) as server:
        stranger = Client(server, "/mounted")
        refused = stranger.request("POST", "", {"method": "info"})
        assert (refused.status, refused.json()) == (401, {"detail": "Send a token."})
        assert stranger.request("GET", "/info").status == 401
        ada, bob = (Client(server, "/mounted", {"authorization": f"Bearer {user}"}) for user in ("ada", "bob"))
        thread, gate = unique("thread"), unique("gate")
        assert ada.request("POST", "", {"method": "info"}).json()["agents"].keys() == {"play", "play-sync"}
        with ada.start_run("play", thread, **steps(("say", "a"), ("wait", gate), ("say", "b"))) as stream:
            assert stream.until("TEXT_MESSAGE_CONTENT")[-1]["delta"] == "a"
            ada.stop("play", thread)
            assert types(stream.rest())[-1] == "RUN_FINISHED"
        # `identify_user` knows the user whom the dependency found.
        for client, threads in ((ada, [thread]), (bob, [])):
            assert [found["id"] for found in client.request("GET", "/threads").json()["threads"]] == threads


@pytest.mark.requirement("ASGI-04")
def test_copilot_endpoint_notices_disconnects() -> None:
    with serve_app("asgi", "tests.fixtures.mounted_apps:endpoint_in_starlette", mount="/mounted") as server:
        client, left = Client(server, "/mounted"), unique("left")
        body = run_input(unique("thread"), **steps(("set-on-cancel", left), ("wait", unique("never"))))
        with client.start_run("play", unique("watch"), **steps(("wait", left), ("say", "it has"))) as watcher:
            with client.open("POST", "/agent/play/suggest", body) as stream:
                assert stream.event()["type"] == "RUN_STARTED"
            watcher.until("TEXT_MESSAGE_CONTENT")


# --- where frameworks say that an application is mounted --------------------------------

MOUNTS: Mapping[str, tuple[str, str | None, str]] = {
    "ASGI": ("{mount}{path}", "{mount}{path}", "{mount}"),
    "no raw path": ("{mount}{path}", None, "{mount}"),
    "a2wsgi, Starlette before 0.33 without a raw path": ("{path}", None, "{mount}"),
    "Starlette before 0.33": ("{path}", "{mount}{path}", "{mount}"),
    "hypercorn --root-path, behind a proxy that removes it": ("{path}", "{path}", "{mount}"),
    "Litestar, is_mount=True": ("{path}/", "{mount}{path}", ""),
    "Litestar, is_mount=True, a slash at the end": ("{path}/", "{mount}{path}/", ""),
    "a mount that keeps no slash": ("{path}", "{mount}{path}", ""),
    "a route, Channels' URLRouter": ("{mount}{path}", "{mount}{path}", ""),
    "Litestar below --root-path": ("{path}/", "/proxy{mount}{path}", "/proxy"),
    "Litestar below a proxy that removes its prefix": ("{path}/", "{mount}{path}", "/proxy"),
    "Starlette's Mount in Litestar's": ("{mount}{path}", "/outer{mount}{path}", "{mount}"),
    "a root path with a slash at the end": ("{mount}{path}", "{mount}{path}", "{mount}/"),
    "a raw path with the query": ("{mount}{path}", "{mount}{path}?a=/b", "{mount}"),
}
"""By framework: the scope's ``path``, ``raw_path`` and ``root_path``."""


def one_agent(input: Any) -> list[Any]:
    return []


async def call(app: Any, scope: dict[str, Any]) -> tuple[int, Any]:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await app({"type": "http", "query_string": b"", "headers": [], **scope}, receive, send)
    return sent[0]["status"], json.loads(sent[1]["body"])


@pytest.mark.requirement("ASGI-03")
@pytest.mark.parametrize("base_path", [None, "/api/copilotkit", "/"])
@pytest.mark.parametrize("framework", MOUNTS)
def test_base_path_below_mounts_of_every_framework(framework: str, base_path: str | None) -> None:
    runtime = CopilotRuntime(agents={"a": one_agent}, single_user=True)
    app = create_copilot_asgi_app(runtime=runtime, base_path=base_path)
    forms = MOUNTS[framework]

    def request(method: str, raw: str, path: str) -> tuple[int, Any]:
        scope: dict[str, Any] = {"method": method}
        for name, form, below in zip(("path", "raw_path", "root_path"), forms, (path, raw, path), strict=True):
            if form is not None:
                text = form.format(mount="/api/copilotkit", path=below)
                scope[name] = text.encode() if name == "raw_path" else text
        return asyncio.run(call(app, scope))

    status, body = request("GET", "/info", "/info")
    assert (status, list(body["agents"])) == (200, ["a"])
    assert request("GET", "/nowhere", "/nowhere")[0] == 404
    # Without a base path, nothing says of a route where it begins.
    mount = request("GET", "", "")
    assert mount[0] == (404 if framework.startswith("a route") and base_path != "/api/copilotkit" else 405)
    status, body = request("DELETE", "/threads/a%2Fb", "/threads/a/b")
    if forms[1] is not None:
        assert (status, body["message"]) == (404, "Thread 'a/b' does not exist")


def test_base_path_below_a_mount_of_litestar_itself() -> None:
    litestar = pytest.importorskip("litestar", reason="Litestar is not installed")
    from litestar.testing import TestClient as LitestarClient

    runtime = CopilotRuntime(agents={"a": one_agent}, single_user=True)
    app = create_copilot_asgi_app(runtime=runtime, base_path="/api/copilotkit")
    mounted = litestar.asgi("/api/copilotkit", is_mount=True, copy_scope=True)(app)
    with LitestarClient(litestar.Litestar([mounted])) as client:
        assert list(client.get("/api/copilotkit/info").json()["agents"]) == ["a"]
        for path in ("/api/copilotkit", "/api/copilotkit/"):
            assert list(client.post(path, json={"method": "info"}).json()["agents"]) == ["a"]
        assert client.delete("/api/copilotkit/threads/a%2Fb").json()["message"] == "Thread 'a/b' does not exist"


# --- hosts with faults ------------------------------------------------------------------


class ReceiveThatNeverWaits:
    """A host whose ``receive`` answers at once, however often it is called, as that of aiohttp-asgi does."""

    def __init__(self, body: bytes, rest: dict[str, Any]) -> None:
        self.messages = iter([{"type": "http.request", "body": body, "more_body": rest.get("more_body", False)}])
        self.rest = {"type": "http.request", "body": b"", **rest}
        self.calls = 0

    async def __call__(self) -> dict[str, Any]:
        self.calls += 1
        return next(self.messages, self.rest)


@pytest.mark.requirement("ASGI-01")
def test_disconnect_is_not_waited_for_on_a_host_whose_receive_never_waits() -> None:
    async def agent(input: Any) -> Any:
        yield {"type": "RUN_STARTED", "threadId": input.thread_id, "runId": input.run_id}
        for _ in range(1000):
            await asyncio.sleep(0)
        yield {"type": "RUN_FINISHED", "threadId": input.thread_id, "runId": input.run_id}

    async def main() -> tuple[bytes, int]:
        app = create_copilot_asgi_app(runtime=CopilotRuntime(agents={"a": agent}))
        receive = ReceiveThatNeverWaits(json.dumps(run_input("thread")).encode(), {})
        body = b""

        async def send(message: Any) -> None:
            nonlocal body
            body += message.get("body", b"")

        scope = {"type": "http", "method": "POST", "path": "/agent/a/run", "query_string": b"", "headers": []}
        await asyncio.wait_for(app(scope, receive, send), 30)
        return body, receive.calls

    body, calls = asyncio.run(main())
    assert b"RUN_FINISHED" in body
    assert calls <= 3, "a host that answers at once is not asked again and again"


@pytest.mark.requirement("ASGI-01")
def test_body_that_never_ends_on_a_host_whose_receive_never_waits() -> None:
    """Other requests are served meanwhile, until the host closes the connection."""

    async def main() -> None:
        app = create_copilot_asgi_app(runtime=CopilotRuntime(agents={"a": one_agent}))
        scope = {"type": "http", "method": "POST", "path": "/info", "query_string": b"", "headers": []}
        endless = asyncio.ensure_future(app(scope, ReceiveThatNeverWaits(b"", {"more_body": True}), None))
        assert (await call(app, {"method": "GET", "path": "/info"}))[0] == 200
        endless.cancel()
        await asyncio.wait([endless])

    asyncio.run(main())


# --- bodies of requests that are refused -------------------------------------------------


class SkippingLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock can be advanced."""

    skipped = 0.0

    def time(self) -> float:
        return super().time() + self.skipped


@pytest.mark.requirement("ASGI-01")
@pytest.mark.parametrize("version", ["2", "3"])
def test_refused_body_is_read_to_its_end_if_other_requests_share_the_connection(version: str) -> None:
    """hypercorn closes the connection when more of a body arrives after its response has ended."""
    assert read_of_refused_body(version, ["sent"] * 50) == 50


@pytest.mark.requirement("ASGI-01")
def test_refused_body_is_read_for_a_limited_time_if_the_connection_is_its_own() -> None:
    assert read_of_refused_body("1.1", ["sent"] * 50) < 5


@pytest.mark.requirement("ASGI-01")
@pytest.mark.parametrize("version", ["1.1", "2"])
def test_refused_body_that_is_not_sent_does_not_keep_the_response_from_ending(version: str) -> None:
    assert read_of_refused_body(version, ["sent", "withheld"]) == 1


def read_of_refused_body(version: str, pieces: list[str]) -> int:
    """Returns how much is read of a body of a request without a user, of which a MiB arrives each second."""
    loop = SkippingLoop()
    left = list(pieces)
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        loop.skipped += 1
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        if left[0] == "withheld":
            loop.skipped += 10
            await asyncio.Event().wait()
        left.pop(0)
        return {"type": "http.request", "body": bytes(1024 * 1024), "more_body": bool(left)}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    runtime = CopilotRuntime(agents={"a": one_agent}, identify_user=lambda request: None)
    scope = {"type": "http", "http_version": version, "method": "POST", "path": "/agent/a/run", "headers": []}
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(create_copilot_asgi_app(runtime=runtime)(scope, receive, send))
    assert sent[0]["status"] == 401
    assert not sent[-1].get("more_body")
    return len(pieces) - len(left)
