"""``examples/fastapi_app``: a route of its own, a runtime ahead of it, and the same users for both."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ..http_client import Client, fresh, run_input, types
from ..servers import RunningServer
from .launch import run_example

ADA = {"authorization": "Bearer ada-token"}
BOB = {"authorization": "Bearer bob-token"}


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with run_example("fastapi_app", "uvicorn app:app --port 8000") as server:
        yield server


@pytest.fixture
def client(server: RunningServer) -> Client:
    return Client(server)


def test_the_applications_own_routes_are_as_they_were(server: RunningServer) -> None:
    own = Client(server, "")
    with own.ask("GET", "/orders", headers=ADA) as answer:
        assert (answer.status, answer.json()) == (200, ["a kettle", "two cups"])
    with own.ask("GET", "/orders") as answer:
        assert answer.status == 401
    with own.ask("GET", "/docs") as answer:
        assert answer.status == 200


@pytest.mark.parametrize(
    ("who", "orders"), [(ADA, "Ada, your orders are: a kettle, two cups."), (BOB, "a bicycle bell")]
)
def test_the_agent_answers_the_user_of_the_token(client: Client, who: dict[str, str], orders: str) -> None:
    with client.ask("POST", "/agent/default/run", run_input(fresh("thread"), fresh("run")), who) as stream:
        assert stream.status == 200
        events = list(stream.events())
    assert types(events)[0] == "RUN_STARTED"
    assert types(events)[-1] == "RUN_FINISHED"
    assert orders in "".join(event.get("delta", "") for event in events)


def test_whom_the_application_does_not_know_the_runtime_does_not_serve(client: Client) -> None:
    for headers in ({}, {"authorization": "Bearer mallory"}):
        with client.ask("POST", "/agent/default/run", run_input("thread", "run"), headers) as answer:
            assert answer.status == 401
            assert answer.json()["error"]


def test_a_thread_is_its_users_own(client: Client) -> None:
    thread = fresh("thread")
    with client.ask("POST", "/agent/default/run", run_input(thread, fresh("run")), ADA) as stream:
        assert "RUN_FINISHED" in types(list(stream.events()))
    with client.connect("default", thread, headers=ADA) as own, client.connect("default", thread, headers=BOB) as other:
        assert "a kettle" in own.rest().decode()
        assert "a kettle" not in other.rest().decode()
