"""A browser's part in talking to a site: cookies that it keeps, and forms."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from http.cookies import SimpleCookie
from typing import Any, Self
from urllib.parse import urlencode

from ..http_client import PATIENCE, Client, Stream, fresh, run_input, types
from ..servers import RunningServer


class Visitor(Client):
    """Requests to one of the site's runtimes, with the cookies that the site has given."""

    def __init__(self, server: RunningServer, base: str = "/api/copilotkit") -> None:
        super().__init__(server, base)
        self.server = server
        self.cookies: dict[str, str] = {}
        self.token = ""
        """What Django wants to see in ``X-CSRFToken``."""

    def at(self, base: str) -> Self:
        """The same visitor at another runtime."""
        other = type(self)(self.server, base)
        other.cookies, other.token = self.cookies, self.token
        return other

    def ask(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Stream:
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        return super().ask(method, path, body, {**({"cookie": cookies} if cookies else {}), **(headers or {})})

    def send(self, path: str, body: bytes, kind: str, headers: Mapping[str, str] | None = None) -> Stream:
        """A POST of something that is no JSON, without cookies."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        connection.request("POST", f"{self.base}{path}", body=body, headers={"content-type": kind, **(headers or {})})
        return Stream(connection, connection.getresponse())

    def ask_in_pieces(self, path: str, pieces: list[bytes]) -> Stream:
        """A POST of JSON whose length is not said beforehand."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        kind = {"content-type": "application/json"}
        connection.request("POST", f"{self.base}{path}", body=iter(pieces), headers=kind, encode_chunked=True)
        return Stream(connection, connection.getresponse())

    def sign_in(self, name: str) -> Self:
        """Signs in by the site's own form; everybody's password is their name."""
        form = urlencode({"username": name, "password": name}).encode()
        with self.at("").send("/sign-in", form, "application/x-www-form-urlencoded") as answer:
            assert answer.status == 200, answer.rest()
            jar = SimpleCookie("; ".join(answer.headers.get_all("set-cookie") or []))
            self.cookies = {key: jar[key].value for key in ("sessionid", "csrftoken")}
            self.token = answer.json()["token"]
        return self

    def begin(self, agent: str, thread: str, headers: Mapping[str, str] | None = None, **members: Any) -> Stream:
        """A run, with headers of its own."""
        return self.ask("POST", f"/agent/{agent}/run", run_input(thread, fresh("run"), **members), headers)

    def send_only(
        self, agent: str, headers: Mapping[str, str], members: Mapping[str, Any]
    ) -> http.client.HTTPConnection:
        """A run whose answer nobody waits for."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        body = json.dumps(run_input(fresh("thread"), fresh("run"), **members))
        given = {"content-type": "application/json", **headers}
        connection.request("POST", f"{self.base}/agent/{agent}/run", body, given)
        return connection

    def said(self, agent: str, **members: Any) -> list[str]:
        """What an agent says, piece by piece, in a run that must end well."""
        events = self.ran(agent, fresh("thread"), **members)
        assert types(events)[-1] == "RUN_FINISHED", events[-1]
        return [event["delta"] for event in events if "delta" in event]

    def connections(self) -> dict[str, int]:
        """How many connections to the database the server has opened and closed."""
        with self.at("").ask("GET", "/connections") as answer:
            counted: dict[str, int] = answer.json()
            return counted
