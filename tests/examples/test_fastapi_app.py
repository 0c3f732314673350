"""``examples/fastapi_app``: a route, and a runtime in front of it, with the same users."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ..http_client import Client, unique
from ..servers import RunningServer
from .launch import chat, run_example

ADA = {"authorization": "Bearer ada-token"}
BOB = {"authorization": "Bearer bob-token"}


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with run_example("fastapi_app", "uvicorn app:app --port 8000") as server:
        yield server


def test_the_applications_own_routes_are_unchanged(server: RunningServer) -> None:
    site = Client(server, "")
    orders = site.request("GET", "/orders", headers=ADA)
    assert (orders.status, orders.json()) == (200, ["a kettle", "two cups"])
    assert site.request("GET", "/orders").status == 401
    assert site.request("GET", "/docs").status == 200


@pytest.mark.parametrize(
    ("headers", "orders"), [(ADA, "Ada, your orders are: a kettle, two cups."), (BOB, "a bicycle bell")]
)
def test_agent_knows_the_user_of_the_token(server: RunningServer, headers: dict[str, str], orders: str) -> None:
    assert orders in chat(Client(server, headers=headers), "What have I ordered?")


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer mallory"}])
def test_unknown_users_get_a_401(server: RunningServer, headers: dict[str, str]) -> None:
    with Client(server, headers=headers).start_run("default", unique("thread")) as response:
        assert response.status == 401
        assert response.json()["error"]


def test_a_thread_belongs_to_its_user(server: RunningServer) -> None:
    thread = unique("thread")
    ada, bob = Client(server, headers=ADA), Client(server, headers=BOB)
    chat(ada, "What have I ordered?", thread)
    with ada.connect("default", thread) as own, bob.connect("default", thread) as other:
        assert "a kettle" in own.read().decode()
        assert "a kettle" not in other.read().decode()
