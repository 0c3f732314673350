"""Requests that are right: one for every route, by path or by envelope."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from random import Random
from typing import Any
from urllib.parse import quote

from copilot_runtime._server.routes import ROUTES

from ..fixtures.fuzz_app import AGENTS, HANDLERS
from .requests import FUZZ_USERS, Draft, mark

Value = dict[str, Any]

THREADS = tuple(f"t{number}" for number in range(6))
ALL_THREADS = (*THREADS, "alices", "größe", "a/b", "a b", "%", ".", "t" * 200, "\ud83d\ude00")
AGENT_IDS = tuple(AGENTS)
QUICK_AGENTS = ("hello", "hello", "plain", "echo", "echo", "asks", "fails", "model", "model", "remote")


def message(rng: Random, text: str) -> Value:
    """Returns a message as a frontend sends it."""
    identity = f"m{rng.randrange(1000)}"
    parts: list[Value] = [
        {"type": "text", "text": text},
        {"type": "binary", "mimeType": "image/png", "data": "aGk="},
        {"type": "image", "source": {"type": "url", "value": "https://files.example/a.png"}},
        {"type": "image", "source": {"type": "data", "value": "aGk=", "mimeType": "image/png"}},
    ]
    calls = [{"id": f"c{rng.randrange(9)}", "type": "function", "function": {"name": "look", "arguments": "{}"}}]
    return rng.choice(
        (
            {"id": identity, "role": "user", "content": text},
            {"id": identity, "role": "user", "content": text},
            {"id": identity, "role": "user", "content": rng.sample(parts, 2)},
            {"id": identity, "role": "assistant", "content": text, "toolCalls": calls},
            {"id": identity, "role": "tool", "content": text, "toolCallId": "c1"},
            {"id": identity, "role": "system", "content": text},
            {"id": identity, "role": "developer", "content": text},
            {"id": identity, "role": "reasoning", "content": text},
            {"id": identity, "role": "activity", "activityType": "PLAN", "content": {"text": text}},
        )
    )


def run_body(rng: Random, user: str | None, thread: str, run: str | None = None) -> Value:
    """Returns the input of a run."""
    own = mark(user)
    body: Value = {
        "threadId": thread,
        "runId": run or f"r{rng.randrange(10**9)}",
        "messages": [message(rng, f"{own} {number}") for number in range(rng.randrange(1, 4))],
        "tools": [],
        "context": [],
        "state": {},
        "forwardedProps": {},
    }
    if rng.random() < 0.3:
        schema = {"type": "object", "properties": {"a": {"type": "string"}}}
        body["tools"] = [{"name": "look", "description": own, "parameters": schema}]
    if rng.random() < 0.3:
        body["context"] = [{"description": "page", "value": own}]
    if rng.random() < 0.3:
        body["state"] = {"list": [1, {"text": own}], "n": rng.random()}
    if rng.random() < 0.3:
        body["forwardedProps"] = {
            "toolChoice": rng.choice(("auto", "none", "required")),
            "nodeName": own,
            "temperature": 1,
        }
    if rng.random() < 0.15:
        body["resume"] = [{"interruptId": f"about-r{rng.randrange(9)}", "status": "resolved", "payload": True}]
    if rng.random() < 0.1:
        body["parentRunId"] = "r0"
    return body


def _connect_body(rng: Random, user: str | None, thread: str) -> Value:
    body = run_body(rng, user, thread)
    if rng.random() < 0.5:
        body["lastSeenEventId"] = f"{rng.randrange(1, 2**40)}.{rng.randrange(1, 20)}"
    return body


def _stop_body(rng: Random, user: str | None, thread: str) -> Value | None:
    return None if rng.random() < 0.5 else {"runId": f"r{rng.randrange(9)}"}


def _audio_body(rng: Random, user: str | None, thread: str) -> Value:
    return {"audio": "aGVsbG8=", "mimeType": "audio/webm", "filename": rng.choice(("a.webm", "broken"))}


def _change_body(rng: Random, user: str | None, thread: str) -> Value:
    return rng.choice(({"name": mark(user)}, {"archived": True}, {"archived": False, "name": ""}))


BodyMaker = Callable[[Random, str | None, str], Value | None]

BODIES: Mapping[str, BodyMaker] = {
    "agent/run": run_body,
    "agent/suggest": run_body,
    "agent/connect": _connect_body,
    "agent/stop": _stop_body,
    "transcribe": _audio_body,
    "threads/update": _change_body,
}
"""By the route's name; the others have no body."""

ROUTE_WEIGHTS: Mapping[str, int] = {
    "agent/run": 8,
    "agent/connect": 8,
    "agent/suggest": 4,
    "threads/list": 5,
    "cpk-debug-events": 1,
}

_METHODS = [
    (method, route)
    for route in ROUTES.routes
    for method in route.methods
    for _ in range(ROUTE_WEIGHTS.get(route.methods[method], 2))
]


def body_text(value: Any) -> bytes:
    return json.dumps(value).encode()


def query(rng: Random) -> str:
    """Returns a query for a list of threads."""
    fields = ("limit=2", "limit=1000", "includeArchived=true", "agentId=hello", 'cursor=[1700000000.5,"t1"]')
    return "&".join(rng.sample(fields, rng.randrange(3)))


class Drafts:
    """Makes requests.

    Args:
        rng: where all choices come from.
        store: the name of the store that is attacked.
    """

    def __init__(self, rng: Random, store: str) -> None:
        self.rng = rng
        self.store = store
        self.user: str = rng.choice(FUZZ_USERS)

    def mount(self, handler: str | None = None) -> str:
        return f"/{self.store}-{handler or self.rng.choice(tuple(HANDLERS))}"

    def _send(self, method: str, target: str, body: Value | None) -> Draft:
        draft = Draft(method=method, target=target, user=self.user)
        if body is not None:
            draft.body = body_text(body)
            draft.headers.append(("Content-Type", "application/json"))
        return draft

    def by_path(self, mount: str, method: str, path: str, body: Value | None = None, query: str = "") -> Draft:
        target = f"{mount}{path}" + (f"?{query}" if query else "")
        return self._send(method, target, body)

    def by_envelope(self, mount: str, envelope: Value) -> Draft:
        return self._send("POST", mount, envelope)

    def any(self) -> tuple[Draft, Value | None]:
        """Returns a right request for any route of any runtime, and its body as a value."""
        rng = self.rng
        method, route = rng.choice(_METHODS)
        name = route.methods[method]
        thread, agent = rng.choice(ALL_THREADS if rng.random() < 0.3 else THREADS), rng.choice(QUICK_AGENTS)
        make = BODIES.get(name)
        body = (
            None if make is None or (name == "threads/update" and method == "DELETE") else make(rng, self.user, thread)
        )
        ids = {"agent_id": agent, "thread_id": thread, "memory_id": "m"}
        path = route.pattern
        for param, value in ids.items():
            path = path.replace("{" + param + "}", quote(value.encode("utf-8", "surrogatepass"), safe=""))
        text = query(rng) if name == "threads/list" else ""
        handler = rng.choice(tuple(HANDLERS))
        mount = self.mount(handler)
        by_envelope = route.envelope is not None or route.resource
        if by_envelope and (handler == "single-route" or (handler != "multi-route" and rng.random() < 0.3)):
            if route.resource:
                params = {"path": f"{path}?{text}" if text else path, "httpMethod": method}
                envelope: Value = {"method": "resource/request", "params": params}
            else:
                envelope = {"method": name, "params": {"agentId": agent, "threadId": thread}}
            envelope |= {} if body is None else {"body": body}
            return self.by_envelope(mount, envelope), envelope
        return self.by_path(mount, method, path, body, text), body

    def run(self, agent: str, thread: str, run: str | None = None, mount: str | None = None) -> tuple[Draft, Value]:
        body = run_body(self.rng, self.user, thread, run)
        return self.agent_request("run", agent, body, mount), body

    def agent_request(self, action: str, agent: str, body: Value, mount: str | None = None) -> Draft:
        """Returns a request for an agent, as the mount's mode has it."""
        mount = mount or self.mount("auto")
        if mount.endswith("single-route"):
            return self.by_envelope(mount, {"method": f"agent/{action}", "params": {"agentId": agent}, "body": body})
        return self.by_path(mount, "POST", f"/agent/{agent}/{action}", body)

    def stop(self, agent: str, thread: str, body: Value | None, mount: str) -> Draft:
        if mount.endswith("single-route"):
            params = {"agentId": agent, "threadId": thread}
            return self.by_envelope(
                mount, {"method": "agent/stop", "params": params, **({"body": body} if body else {})}
            )
        return self.by_path(mount, "POST", f"/agent/{agent}/stop/{quote(thread, safe='')}", body)

    def resource(self, mount: str, method: str, path: str, body: Value | None = None) -> Draft:
        """Returns a request for threads, as the mount's mode has it."""
        if mount.endswith("single-route"):
            params = {"path": path, "httpMethod": method}
            return self.by_envelope(
                mount, {"method": "resource/request", "params": params, **({"body": body} if body else {})}
            )
        return self.by_path(mount, method, path, body)
