"""Uses of what pages define, where `frontend_calls` cannot know them: by page, and by the name that is used."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import types
import unittest
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from unittest import mock

from copilot_runtime import CopilotRuntime, create_copilot_runtime_handler
from copilot_runtime.testing import TestClient
from copilot_runtime_flask import create_copilot_blueprint

from .frontend_calls import ADA, call_tool, identify, run_agent, run_middleware
from .stand_ins import RUN, hello

Names = dict[str, Any]
Use = Callable[[Names], object]

USES: dict[tuple[str, str], Use] = {}
"""Each is called when a block has defined the name, or at the end of the page."""
END = ""

NOT_EXECUTED = {
    "ag_ui_adk": "not installed by any test, as docs/agents.md says",
    "ag_ui_crewai": "the same",
    "agent_framework": "the same",
    "agno": "the same",
    "llama_index": "the same",
}
"""Blocks whose functions are only compiled: those that import a package, with the reason."""


def use(page: str, name: str) -> Callable[[Use], Use]:
    def add(function: Use) -> Use:
        USES[page, name] = function
        return function

    return add


# --- agents and middleware ---


@use("docs/agents.md", "for_each_user")
def _(names: Names) -> None:
    from ag_ui.core import EventType, RunFinishedEvent, RunStartedEvent

    threads = []

    class Framework:
        async def run(self, input: Any) -> Any:
            threads.append(input.thread_id)
            ids = {"thread_id": input.thread_id, "run_id": input.run_id}
            yield RunStartedEvent(type=EventType.RUN_STARTED, **ids)
            yield RunFinishedEvent(type=EventType.RUN_FINISHED, **ids)

    [result] = run_agent(names["for_each_user"](Framework()), thread_id="t")
    assert threads == [f"{ADA.owner_key}/t"]
    assert {event["threadId"] for event in result.events} == {"t"}


@use("docs/middleware.md", "last_messages_only")
def _(names: Names) -> None:
    assert run_middleware(names["last_messages_only"]) == ["Hello."]


@use("docs/middleware.md", "reviewed")
def _(names: Names) -> None:
    assert run_middleware(names["reviewed"], "the password") == ["the password", "WITHHELD"]
    assert run_middleware(names["reviewed"]) == ["Hello."]


@use("docs/middleware.md", "continued")
def _(names: Names) -> None:
    assert run_middleware(names["continued"], "This is", "all.") == ["This is", "all."]
    assert run_middleware(names["continued"]) == ["Hello."]


@use("docs/mcp.md", "agent")
def _(names: Names) -> None:
    context = SimpleNamespace(headers={"authorization": "Bearer x"})
    settings = [asyncio.run(each.resolve_settings(context)) for each in names["agent"]._mcp_servers]
    assert {"authorization": "Bearer x"} in settings


@use("docs/doctor.md", "probe")
def _(names: Names) -> None:
    async def sleep(seconds: float) -> None:
        """At once."""

    with mock.patch.dict(names, asyncio=SimpleNamespace(sleep=sleep)):
        [result] = run_agent(names["probe"])
    assert result.text == "0 1 2 3 4 "


@use("docs/versions.md", "without_reasoning")
def _(names: Names) -> None:
    async def reasons(input: Any, context: Any) -> Any:
        async for event in hello(input):
            yield event
            if event["type"] == "RUN_STARTED":
                yield {"type": "REASONING_MESSAGE_CHUNK", "messageId": "r", "delta": "Hm."}

    with mock.patch.dict(names, agent=SimpleNamespace(run=reasons)):
        [result] = run_agent(names["without_reasoning"])
    assert (result.text, "Hm." in str(result.events)) == ("Hello from Python.", False)


@use("docs/builtin-agent.md", "chart")
def _(names: Names) -> None:
    from copilot_runtime.agents import define_tool

    with open("chart.png", "wb") as file:
        file.write(b"\x89PNG")
    call_tool(define_tool(names["chart"]))


# --- users and hooks ---


@use("docs/flask.md", "identify_user")
def _(names: Names) -> None:
    from .test_recipes import statuses_with_flask_login

    assert statuses_with_flask_login(names["runtime"]) == [401, 200]


@use("docs/flask.md", "guard")
def _(names: Names) -> None:
    from .test_recipes import client_with_flask_login

    for allowed, status in ((False, 403), (True, 401)):
        blueprint = create_copilot_blueprint(runtime=names["runtime"])
        blueprint.before_request(names["guard"])
        client = client_with_flask_login(blueprint)
        with mock.patch.dict(names, allowed=lambda request, allowed=allowed: allowed):
            assert client.post("/api/copilotkit/agent/default/run", json=RUN).status_code == status


@use("docs/asgi.md", "identify_user")
def _(names: Names) -> None:
    # The other one is called by the routes of its block.
    if "find_account" in names["identify_user"].__code__.co_names:
        identify(names["identify_user"])


@use("docs/generative-ui.md", "show_cart")
def _(names: Names) -> None:
    assert names["show_cart"]() == "Two books."


@use("docs/asgi.md", "signed_in")
def _(names: Names) -> None:
    from fastapi.testclient import TestClient as FastAPIClient

    with FastAPIClient(names["app"]) as client:
        url, headers = "/api/copilotkit/agent/default/run", {"authorization": "ada"}
        assert [client.post(url, json=RUN, headers=each).status_code for each in ({}, headers)] == [401, 200]


@use("docs/asgi.md", "lifespan")
def _(names: Names) -> None:
    from fastapi.testclient import TestClient as FastAPIClient

    with FastAPIClient(names["app"]):
        """Its start and its end are what is called."""


@use("docs/django.md", "identify_user")
def _(names: Names) -> None:
    for known, status in ((True, 200), (False, 401)):
        user = SimpleNamespace(pk=1, team=SimpleNamespace(slug="red"), is_authenticated=known)
        runtime = CopilotRuntime(agents={"a": hello}, identify_user=names["identify_user"])
        with TestClient(runtime, native=SimpleNamespace(user=user)) as client:
            assert client.run("a", "hi", check=False).status == status


@use("docs/hooks.md", "no_index")
def _(names: Names) -> None:
    handler = create_copilot_runtime_handler(runtime=names["runtime"], hooks=names["hooks"])
    with TestClient(handler) as client:
        assert client.request("GET", "/info").headers["x-robots-tag"] == "noindex"


@use("docs/hooks.md", "count")
def _(names: Names) -> None:
    with mock.patch.dict(names, print=mock.Mock()):
        with TestClient(names["runtime"]) as client:
            thread_id = client.run("default", "hi").thread_id
        names["print"].assert_called_once_with("default", thread_id, "finished")


@use("docs/hooks.md", "identify_user")
def _(names: Names) -> None:
    """Each recipe is a file, to be imported below."""


@use("docs/hooks.md", END)
def _(names: Names) -> None:
    from . import test_recipes

    for name, test in vars(test_recipes).items():
        if name.startswith("test_hooks_recipe_"):
            test(names)


# --- stores and tests ---


@use("docs/stores.md", "runtime_for")
def _(names: Names) -> None:
    with TestClient(names["runtime_for"](None)) as client:
        thread_id = client.run("default", "hi").thread_id
        assert client.connect("default", thread_id).text == "Hello from Python."


@use("docs/stores.md", "TestMyStore")
def _(names: Names) -> None:
    from copilot_runtime.stores import MemoryStore

    with mock.patch.dict(names, MyStore=lambda *options: MemoryStore()):
        assert names["TestMyStore"]().make_store()


@use("docs/threads.md", "Assistant")
def _(names: Names) -> None:
    with TestClient(CopilotRuntime(agents={"a": names["Assistant"]()}, identify_user=lambda request: ADA)) as client:
        assert [message["content"] for message in client.connect("a", "before").messages] == ["hi"]


@use("docs/testing.md", "patient")
def _(names: Names) -> None:
    """Waits until it is stopped, which the test below it does."""


@use("docs/testing.md", "HistoryTest")
def _(names: Names) -> None:
    class WithATest(names["HistoryTest"]):  # type: ignore[misc]
        def test(self) -> None:
            """The page shows only what goes before."""

    run_test_case(WithATest)


@use("docs/testing.md", "ChatTest")
def _(names: Names) -> None:
    with site_of_orders(names):
        run_test_case(names["ChatTest"])


@use("docs/testing.md", "test_lists_orders")
def _(names: Names) -> None:
    with site_of_orders(names):
        names["test_lists_orders"]()


@contextlib.contextmanager
def site_of_orders(names: Names) -> Iterator[None]:
    """The site and the model of the page, whose agent knows the orders."""
    from django.test import override_settings
    from django.urls import include, path

    from copilot_runtime_django import create_copilot_urls

    orders: list[str] = []

    def agent(input: Any) -> Iterator[dict[str, Any]]:
        ids = {"threadId": input.thread_id, "runId": input.run_id}
        yield {"type": "RUN_STARTED", **ids}
        yield {"type": "TEXT_MESSAGE_CHUNK", "messageId": "a", "role": "assistant", "delta": orders[-1]}
        yield {"type": "RUN_FINISHED", **ids}

    runtime = CopilotRuntime(agents={"default": agent})
    urls = types.ModuleType("urls_of_orders")
    urls.urlpatterns = [path("api/copilotkit", include(create_copilot_urls(runtime=runtime)))]  # type: ignore[attr-defined]
    order = SimpleNamespace(objects=SimpleNamespace(create=lambda name: orders.append(name)))
    given = {"runtime": runtime, "Order": order, "run_input": RUN}
    with override_settings(ROOT_URLCONF=urls), mock.patch.dict(names, given), mock.patch("django.db.connections"):
        yield


@use("docs/quickstart-django.md", "ChatTest")
def _(names: Names) -> None:
    from django.test.runner import DiscoverRunner

    runner = DiscoverRunner(verbosity=0, interactive=False)
    databases = runner.setup_databases()
    try:
        run_test_case(names["ChatTest"])
    finally:
        runner.teardown_databases(databases)


def run_test_case(case: type[unittest.TestCase]) -> None:
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(case).run(result)
    assert result.testsRun
    assert result.wasSuccessful(), [*result.errors, *result.failures]


# --- servers ---


@use("docs/deployment.md", "post_fork")
def _(names: Names) -> None:
    server = SimpleNamespace(WORKERS={})
    with (
        mock.patch("os.sched_getaffinity", create=True, return_value={2, 3}),
        mock.patch("os.sched_setaffinity", create=True) as set_affinity,
    ):
        for pid in range(2):
            worker = SimpleNamespace()
            names["pre_fork"](server, worker)
            names["post_fork"](server, worker)
            server.WORKERS[pid] = worker
        del server.WORKERS[0]
        names["pre_fork"](server, worker := SimpleNamespace())
        names["post_fork"](server, worker)
    assert [call.args for call in set_affinity.call_args_list] == [(0, {2}), (0, {3}), (0, {2})]


# --- OpenTelemetry ---


@use("docs/observability.md", "set_up_opentelemetry")
def _(names: Names) -> None:
    names["set_up_opentelemetry"]()
    for setter in (names["trace"].set_tracer_provider, names["metrics"].set_meter_provider):
        setter.call_args.args[0].shutdown()


@use("docs/observability.md", "post_fork")
def _(names: Names) -> None:
    with mock.patch.dict(sys.modules, tracing=types.ModuleType("tracing")) as modules:
        modules["tracing"].set_up_opentelemetry = set_up = mock.Mock()
        names["post_fork"](None, None)
    set_up.assert_called_once_with()
