"""Replays recorded HTTP cases against a CopilotKit-compatible runtime.

    python tests/contract/check.py --base-url http://127.0.0.1:8000/api/copilotkit --config default
    python tests/contract/check.py --base-url ... --config default --config hooks --group run --case 'stop*'
    python tests/contract/check.py --list

Every case names one server configuration (``config``); only the cases whose configuration is
named with --config are replayed. The server must serve the fixture agents described in
docs/protocol.md, section 18. One line (plus an indented diff) is printed for each failing
case, then ``N passed, N failed``. The exit status is 1 if any case failed, 2 if no case was
selected.

Runs by itself, from any directory: its only dependency is httpx.
"""

from __future__ import annotations

import argparse
import base64
import fnmatch
import functools
import json
import re
import socket
import ssl
import sys
import threading
import time
import uuid
from collections.abc import Collection, Container, Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

CASES = Path(__file__).resolve().parent / "cases"
TIMEOUT = 20.0
MISSING = object()
KINDS: dict[str, Any] = {
    "string": str,
    "number": (int, float),
    "boolean": bool,
    "array": list,
    "object": dict,
    "null": type(None),
}
"""What JSON calls the types that `json.loads` returns."""

# --------------------------------------------------------------------------
# Variables. "{{name}}" anywhere in a case is a value made up once per replay of
# the case, so that no case sees what an earlier one left behind.
# "{{repeat:x:1000}}" is a thousand x. "{{origin}}", "{{host}}" and "{{base}}" are
# the scheme://host:port, the host:port and the path of the base URL.

_VAR = re.compile(r"\{\{([^{}]+)\}\}")


class Variables:
    def __init__(self, base_url: str) -> None:
        parts = urlsplit(base_url)
        self.values: dict[str, str] = {
            "origin": f"{parts.scheme}://{parts.netloc}",
            "host": parts.netloc,
            "base": parts.path.rstrip("/"),
        }

    def get(self, name: str) -> str:
        if name.startswith("repeat:"):
            _, text, count = name.split(":", 2)
            return text * int(count)
        if name not in self.values:
            self.values[name] = f"{name}-{uuid.uuid4().hex[:12]}"
        return self.values[name]

    def fill(self, value: Any) -> Any:
        if isinstance(value, str):
            return _VAR.sub(lambda m: self.get(m.group(1)), value)
        if isinstance(value, list):
            return [self.fill(item) for item in value]
        if isinstance(value, dict):
            return {self.fill(key): self.fill(item) for key, item in value.items()}
        return value


# --------------------------------------------------------------------------
# Matching. An expectation is plain JSON, compared exactly, except where an
# object's only key starts with "$".


def show(value: Any, limit: int = 300) -> str:
    if value is MISSING:
        return "(absent)"
    text = value if isinstance(value, str) and "\n" in value else json.dumps(value, ensure_ascii=False, sort_keys=True)
    return text if len(text) <= limit else text[:limit] + f"... ({len(text)} characters)"


def operator(expected: Any) -> str | None:
    if isinstance(expected, dict) and len(expected) == 1:
        key = next(iter(expected))
        if key.startswith("$"):
            return key
    return None


def match(expected: Any, actual: Any, path: str, out: list[str]) -> bool:
    """Whether ``actual`` satisfies ``expected``; appends the differences to ``out``."""
    op = operator(expected)
    if op is not None:
        return match_operator(op, expected[op], actual, path, out)
    if isinstance(expected, dict):
        if not isinstance(actual, dict):
            out.append(f"{path}: expected an object, got {show(actual)}")
            return False
        ok = True
        for key, want in expected.items():
            if not match(want, actual.get(key, MISSING), f"{path}.{key}", out):
                ok = False
        for key in actual:
            if key not in expected:
                out.append(f"{path}.{key}: unexpected, got {show(actual[key])}")
                ok = False
        return ok
    if isinstance(expected, list):
        if not isinstance(actual, list):
            out.append(f"{path}: expected a list, got {show(actual)}")
            return False
        return match_list(expected, actual, path, out)
    same = actual is not MISSING and expected == actual and isinstance(expected, bool) == isinstance(actual, bool)
    if not same:
        out.append(f"{path}: expected {show(expected)}, got {show(actual)}")
    return same


def match_list(expected: list, actual: list, path: str, out: list[str]) -> bool:
    """Lists match item by item; {"$repeat": m, "min": .., "max": ..} consumes several items."""
    at = 0
    for want in expected:
        if isinstance(want, dict) and "$repeat" in want:
            low, high, taken = want.get("min", 0), want.get("max"), 0
            while at < len(actual) and (high is None or taken < high) and match(want["$repeat"], actual[at], "", []):
                at, taken = at + 1, taken + 1
            if taken < low:
                got = actual[at] if at < len(actual) else MISSING
                wanted = f"expected at least {low} like {show(want['$repeat'])}"
                out.append(f"{path}[{at}]: {wanted}, had {taken}, then {show(got)}")
                return False
            continue
        if at >= len(actual):
            out.append(f"{path}[{at}]: expected {show(want)}, got (end of list)")
            return False
        if not match(want, actual[at], f"{path}[{at}]", out):
            return False
        at += 1
    if at < len(actual):
        more = f" and {len(actual) - at - 1} more" if len(actual) - at > 1 else ""
        out.append(f"{path}[{at}]: expected (end of list), got {show(actual[at])}{more}")
        return False
    return True


def match_operator(op: str, arg: Any, actual: Any, path: str, out: list[str]) -> bool:
    if op == "$absent":  # a key or header that must not be there
        if actual is not MISSING:
            out.append(f"{path}: expected to be absent, got {show(actual)}")
        return actual is MISSING
    if op == "$optional":  # may be absent; if there, it must match
        return actual is MISSING or match(arg, actual, path, out)
    if actual is MISSING:
        out.append(f"{path}: expected {show({op: arg})}, got (absent)")
        return False
    if op == "$any":
        return True
    if op == "$type":
        good = isinstance(actual, KINDS[arg]) and not (arg == "number" and isinstance(actual, bool))
        if not good:
            out.append(f"{path}: expected a {arg}, got {show(actual)}")
        return good
    if op == "$nonempty":
        good = isinstance(actual, (str, list, dict)) and len(actual) > 0
        if not good:
            out.append(f"{path}: expected something not empty, got {show(actual)}")
        return good
    if op == "$regex":
        good = isinstance(actual, str) and re.search(arg, actual, re.S) is not None
        if not good:
            out.append(f"{path}: expected a match of /{arg}/, got {show(actual)}")
        return good
    if op == "$contains":  # a substring, or an item of a list
        if isinstance(actual, list):
            good = any(match(arg, item, "", []) for item in actual)
        else:
            good = isinstance(actual, str) and arg in actual
        if not good:
            out.append(f"{path}: expected to contain {show(arg)}, got {show(actual)}")
        return good
    if op == "$lacks":
        good = not (any(match(arg, item, "", []) for item in actual) if isinstance(actual, list) else arg in actual)
        if not good:
            out.append(f"{path}: expected not to contain {show(arg)}, got {show(actual)}")
        return good
    if op == "$tokens":  # a comma-separated header that has at least these tokens
        have = {token.strip().lower() for token in str(actual).split(",")}
        lacking = [token for token in arg if token.lower() not in have]
        if lacking:
            out.append(f"{path}: expected tokens {arg}, got {show(actual)}")
        return not lacking
    if op == "$partial":  # an object with at least these keys
        if not isinstance(actual, dict):
            out.append(f"{path}: expected an object, got {show(actual)}")
            return False
        results = [match(want, actual.get(key, MISSING), f"{path}.{key}", out) for key, want in arg.items()]
        return all(results)
    if op == "$json":  # a string holding JSON
        try:
            return match(arg, json.loads(actual), f"{path}(json)", out)
        except (TypeError, ValueError):
            out.append(f"{path}: expected a string of JSON, got {show(actual)}")
            return False
    if op == "$anyOf":
        for option in arg:
            if match(option, actual, path, []):
                return True
        out.append(f"{path}: expected any of {show(arg, 600)}, got {show(actual)}")
        return False
    if op == "$unordered":  # a list in any order
        if not isinstance(actual, list):
            out.append(f"{path}: expected a list, got {show(actual)}")
            return False
        left = list(actual)
        for want in arg:
            found = next((item for item in left if match(want, item, "", [])), MISSING)
            if found is MISSING:
                out.append(f"{path}: nothing like {show(want)} in {show(actual)}")
                return False
            left.remove(found)
        if left:
            out.append(f"{path}: also has {show(left)}")
        return not left
    raise ValueError(f"unknown matcher {op}")


# --------------------------------------------------------------------------
# Requests and responses.


class Reply:
    """A response, filled in while it arrives."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.headers: httpx.Headers = httpx.Headers()
        self.body = b""
        self.error: str | None = None
        self.done = threading.Event()
        self.changed = threading.Condition()
        self.stop = threading.Event()
        self.seconds = 0.0
        self.socket: Any = None

    def frames(self) -> list[str]:
        text = self.text().replace("\r\n", "\n")
        *complete, rest = text.split("\n\n")
        return [frame for frame in complete if frame] + ([rest] if rest.strip() and self.done.is_set() else [])

    def text(self) -> str:
        return self.body.decode("utf-8", "replace")

    def events(self) -> list[Any]:
        found = []
        for frame in self.frames():
            data = [line[5:].removeprefix(" ") for line in frame.split("\n") if line.startswith("data:")]
            if data:
                text = "\n".join(data)
                try:
                    found.append(json.loads(text))
                except ValueError:
                    found.append({"(not JSON)": text})
        return found

    def comments(self) -> list[str]:
        return [line[1:].strip() for frame in self.frames() for line in frame.split("\n") if line.startswith(":")]


def build(request: dict, variables: Variables, base_url: str) -> tuple[str, bytes, list, bytes | None]:
    """Returns method, raw request target, headers and body of a request that a case describes."""
    request = variables.fill(request)
    parts = urlsplit(base_url)
    if "absolute_path" in request:
        target = request["absolute_path"]
    else:
        target = parts.path.rstrip("/") + request.get("path", "")
    headers = [(str(k), str(v)) for k, v in request.get("headers", {}).items()]
    names = {k.lower() for k, _ in headers}
    body: bytes | None = None
    if "json" in request:
        body = json.dumps(request["json"]).encode()
        if "content-type" not in names:
            headers.append(("content-type", "application/json"))
    elif "text" in request:
        body = request["text"].encode()
    elif "base64" in request:
        body = base64.b64decode(request["base64"])
    elif "multipart" in request:
        boundary = "----contract" + uuid.uuid4().hex
        chunks = []
        for part in request["multipart"]:
            line = f'Content-Disposition: form-data; name="{part["name"]}"'
            if "filename" in part:
                line += f'; filename="{part["filename"]}"'
            line += "\r\n"
            if "type" in part:
                line += f"Content-Type: {part['type']}\r\n"
            content = base64.b64decode(part["base64"]) if "base64" in part else part.get("text", "").encode()
            chunks.append(f"--{boundary}\r\n{line}\r\n".encode() + content + b"\r\n")
        chunks.append(f"--{boundary}--\r\n".encode())
        body = b"".join(chunks)
        headers.append(("content-type", f"multipart/form-data; boundary={boundary}"))
    return request.get("method", "GET"), target.encode("utf-8") or b"/", headers, body


@functools.cache
def tls() -> ssl.SSLContext:
    """What would be made anew for each client, and takes longer than most cases."""
    return httpx.create_ssl_context(trust_env=False)


class Runner:
    def __init__(self, base_url: str, adapter: str | None = None) -> None:
        self.base_url = base_url.rstrip("/")
        self.adapter = adapter
        self.client = httpx.Client(
            timeout=httpx.Timeout(TIMEOUT),
            trust_env=False,
            verify=tls(),
            limits=httpx.Limits(max_connections=50, max_keepalive_connections=0),
            headers={"user-agent": "contract-check", "accept": "*/*", "accept-encoding": "identity"},
        )

    def start(self, request: dict, variables: Variables, reply: Reply, until: dict | None) -> None:
        """Sends a request from a worker thread of its own."""
        threading.Thread(target=self.send, args=(request, variables, reply, until), daemon=True).start()

    def send(self, request: dict, variables: Variables, reply: Reply, until: dict | None) -> None:
        method, target, headers, body = build(request, variables, self.base_url)
        begun = time.monotonic()
        try:
            http_request = self.client.build_request(
                method, self.base_url + "/", headers=headers, content=body, extensions={"target": target}
            )
            response = self.client.send(http_request, stream=True)
            try:
                network = response.extensions.get("network_stream")
                reply.socket = network.get_extra_info("socket") if network is not None else None
                reply.status, reply.headers = response.status_code, response.headers
                self.notify(reply)
                deadline = begun + TIMEOUT
                for chunk in response.iter_raw():
                    reply.body += chunk
                    self.notify(reply)
                    if reply.stop.is_set() or (until and len(reply.events()) >= until.get("events", 10**9)):
                        break
                    if until and len(reply.comments()) >= until.get("comments", 10**9):
                        break
                    if time.monotonic() > deadline:
                        reply.error = "the response did not end in time"
                        break
            finally:
                response.close()
        except (httpx.HTTPError, httpx.StreamError, OSError) as error:
            if reply.stop.is_set():  # we hung up ourselves
                return
            reply.error = f"{type(error).__name__}: {error}"
        finally:
            reply.seconds = time.monotonic() - begun
            reply.done.set()
            self.notify(reply)

    @staticmethod
    def notify(reply: Reply) -> None:
        with reply.changed:
            reply.changed.notify_all()

    def run_case(self, case: dict) -> list[str]:
        """Replays a case. Returns its differences; an empty list means that it passed."""
        variables = Variables(self.base_url)
        open_replies: dict[str, Reply] = {}
        problems: list[str] = []
        try:
            for number, step in enumerate(case["steps"]):
                label = f"step {number + 1}"
                if "wait" in step:
                    time.sleep(step["wait"])
                    continue
                if "join" in step:
                    reply = open_replies[step["join"]]
                    if step.get("cancel"):
                        self.disconnect(reply)
                    within = step.get("within", TIMEOUT)
                    if not reply.done.wait(within):
                        self.disconnect(reply)
                        problems.append(f"{label}: the stream '{step['join']}' did not end within {within} s")
                        continue
                elif step.get("background"):
                    reply = Reply()
                    open_replies[step["background"]] = reply
                    self.start(step["request"], variables, reply, None)
                    ready = step.get("ready", {})
                    deadline = time.monotonic() + TIMEOUT
                    with reply.changed:
                        while not (reply.done.is_set() or self.is_ready(reply, ready) or time.monotonic() >= deadline):
                            reply.changed.wait(0.2)
                    if not self.is_ready(reply, ready):
                        got = f"status {reply.status}, {reply.error or show(reply.text())}"
                        problems.append(f"{label}: the stream '{step['background']}' never became ready ({got})")
                        break
                    continue
                else:
                    reply = Reply()
                    self.start(step["request"], variables, reply, step.get("until"))
                    if not reply.done.wait(TIMEOUT + 5):
                        self.disconnect(reply)
                        problems.append(f"{label}: no complete response within {TIMEOUT + 5} s")
                        break
                if "expect" in step:
                    found = self.compare(variables.fill(step["expect"]), reply)
                    problems.extend(f"{label}: {line}" for line in found)
                    if found:
                        break
        finally:
            for reply in open_replies.values():
                self.disconnect(reply)
            for reply in open_replies.values():
                reply.done.wait(2)
        return problems

    @staticmethod
    def disconnect(reply: Reply) -> None:
        """Closes the connection of a response that is still arriving, as a client that leaves does."""
        reply.stop.set()
        if reply.socket is not None and not reply.done.is_set():
            try:
                reply.socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    @staticmethod
    def is_ready(reply: Reply, ready: dict) -> bool:
        return (
            reply.status is not None
            and len(reply.events()) >= ready.get("events", 0)
            and len(reply.comments()) >= ready.get("comments", 0)
        )

    def compare(self, expect: dict, reply: Reply) -> list[str]:
        if "any_of" in expect:
            attempts = []
            for option in expect["any_of"]:
                if option.get("only") not in (None, self.adapter):
                    continue
                found = self.compare({k: v for k, v in option.items() if k not in ("note", "only")}, reply)
                if not found:
                    return []
                attempts.append(found)
            closest = min(attempts, key=len)
            return [f"(none of {len(attempts)} accepted answers; closest:) {line}" for line in closest]
        out: list[str] = []
        if reply.error and not expect.get("broken"):
            out.append(f"the exchange failed: {reply.error}")
            if reply.status is None:
                return out
        if "status" in expect:
            want = expect["status"]
            if not (reply.status in want if isinstance(want, list) else reply.status == want):
                out.append(f"status: expected {want}, got {reply.status}; body {show(reply.text())}")
                return out
        for name, want in expect.get("headers", {}).items():
            have: Any = reply.headers.get(name, MISSING)
            if name.lower() == "content-type" and isinstance(want, str) and have is not MISSING:
                have = have.split(";")[0].strip()  # parameters such as charset are free
            match(want, have, f"header {name}", out)
        if "json" in expect:
            try:
                body = json.loads(reply.body)
            except ValueError:
                out.append(f"body: expected JSON, got {show(reply.text())}")
            else:
                match(expect["json"], body, "body", out)
        if "text" in expect:
            match(expect["text"], reply.text(), "body", out)
        if "events" in expect:
            events = reply.events()
            lines: list[str] = []
            if not match(expect["events"], events, "events", lines):
                out.extend(lines)
                types = [str(event.get("type", "?")) if isinstance(event, dict) else "?" for event in events[:60]]
                out.append("the stream had: " + " ".join(types))
        if "comments" in expect:
            match(expect["comments"], reply.comments(), "comments", out)
        if "max_seconds" in expect and reply.seconds > expect["max_seconds"]:
            out.append(f"took {reply.seconds:.1f} s, allowed {expect['max_seconds']} s")
        return out


# --------------------------------------------------------------------------


def load(directory: Path) -> list[dict]:
    cases = []
    for file in sorted(directory.glob("*.json")):
        for case in json.loads(file.read_text(encoding="utf-8")):
            case["group"] = file.stem
            cases.append(case)
    return cases


def choose(
    cases: Iterable[dict],
    configs: Container[str],
    groups: Collection[str] = (),
    patterns: Collection[str] = (),
    skipped_tags: Iterable[str] = (),
) -> list[dict]:
    """Returns the cases of these configurations; empty ``groups`` and ``patterns`` stand for all."""
    return [
        case
        for case in cases
        if case["config"] in configs
        and (not groups or case["group"] in groups)
        and (not patterns or any(fnmatch.fnmatch(case["name"], pattern) for pattern in patterns))
        and set(case.get("tags", ())).isdisjoint(skipped_tags)
    ]


def replay(cases: Iterable[dict], base_url: str, adapter: str | None = None) -> Iterator[tuple[dict, list[str]]]:
    """Replays cases in order and yields each with its differences; several threads may do so at the same time."""
    runner = Runner(base_url, adapter)
    with runner.client:
        for case in cases:
            try:
                differences = runner.run_case(case)
            except Exception as error:  # a broken case must not hide the others
                differences = [f"{type(error).__name__}: {error}"]
            yield case, differences


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    several: dict[str, Any] = {"action": "append", "default": []}
    parser.add_argument("--base-url", help="where the runtime is mounted, e.g. http://127.0.0.1:8000/api/copilotkit")
    parser.add_argument("--config", **several, help="a configuration this server runs (repeatable)")
    parser.add_argument("--group", **several, help="only this group, the stem of a case file (repeatable)")
    parser.add_argument("--case", **several, help="only cases whose name matches this pattern (repeatable)")
    parser.add_argument("--adapter", help="also accept answers recorded from this adapter only (node, express, hono)")
    parser.add_argument("--skip-tag", **several, help="leave out cases with this tag (repeatable)")
    parser.add_argument("--cases", type=Path, default=CASES, help="directory of case files")
    parser.add_argument("--list", action="store_true", help="list the cases and exit")
    parser.add_argument("-v", "--verbose", action="store_true", help="also name the cases that pass")
    options = parser.parse_args()

    cases = load(options.cases)
    if options.list:
        for case in cases:
            tags = f"  [{', '.join(case['tags'])}]" if case.get("tags") else ""
            print(f"{case['config']:22} {case['group']}/{case['name']}{tags}")
        print(f"{len(cases)} cases")
        return 0
    if not options.base_url:
        parser.error("--base-url is needed")
    chosen = choose(cases, options.config or ["default"], options.group, options.case, options.skip_tag)
    if not chosen:
        print("no case was chosen; see --list")
        return 2
    passed = failed = 0
    for case, differences in replay(chosen, options.base_url, options.adapter):
        if differences:
            failed += 1
            print(f"FAIL {case['group']}/{case['name']} ({case['config']})")
            for line in differences:
                print("     " + line.replace("\n", "\n     "))
        else:
            passed += 1
            if options.verbose:
                print(f"ok   {case['group']}/{case['name']}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
