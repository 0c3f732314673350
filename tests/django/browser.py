"""A browser's part in talking to a site: it keeps cookies and submits forms."""

from __future__ import annotations

from http.cookies import SimpleCookie
from typing import Any, Self
from urllib.parse import urlencode

from ..http_client import Client, Server, types, unique


class Browser(Client):
    """Requests to one of the site's runtimes, with the cookies that the site has set."""

    def __init__(self, server: Server, base: str = "/api/copilotkit", cookies: dict[str, str] | None = None) -> None:
        self.server = server
        self.cookies = cookies or {}
        self.token = ""
        """The value for ``X-CSRFToken``."""
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        super().__init__(server, base, {"cookie": cookie} if cookie else ())

    def at(self, base: str) -> Self:
        """Returns the same browser for another runtime."""
        other = type(self)(self.server, base, self.cookies)
        other.token = self.token
        return other

    def sign_in(self, name: str) -> Self:
        """Signs in through the site's own form; every user's password is their name."""
        form = urlencode({"username": name, "password": name}).encode()
        response = self.at("").request("POST", "/sign-in", form, {"content-type": "application/x-www-form-urlencoded"})
        assert response.status == 200, response
        jar = SimpleCookie("; ".join(response.headers.get_all("set-cookie")))
        signed_in = type(self)(self.server, self.base, {key: jar[key].value for key in ("sessionid", "csrftoken")})
        signed_in.token = response.json()["token"]
        return signed_in

    def text_chunks(self, agent: str, **members: Any) -> list[str]:
        """Returns the text chunks of a run that must finish."""
        events = self.run(agent, unique("thread"), **members)
        assert types(events)[-1] == "RUN_FINISHED", events[-1]
        return [event["delta"] for event in events if "delta" in event]

    def connections(self) -> dict[str, int]:
        """Returns how many connections to the database the server has opened and closed."""
        counts: dict[str, int] = self.at("").request("GET", "/connections").json()
        return counts
