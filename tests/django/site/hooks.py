"""Synchronous and asynchronous hooks, and a factory of agents, that query the database."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from asgiref.sync import sync_to_async
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.http import Http404

from copilot_runtime import Request, Response, RuntimeHooks
from copilot_runtime._engine.types import EndedRun

from ...fixtures.events import named_event
from .agents import AGENTS, users


def plain_request(context: Any) -> Request:
    request: Request = context.request
    return request.replace(headers=request.headers.set("x-request-users", users()))


def plain_response(context: Any) -> Response:
    response: Response = context.response
    request_users = context.request.headers.get("x-request-users") or ""
    cookies = (("set-cookie", "a=1; Path=/"), ("set-cookie", "b=2; HttpOnly; Path=/; SameSite=Strict"))
    return response.replace(
        headers=response.headers.add(("x-request-users", request_users), ("x-response-users", users()), *cookies)
    )


async def async_request(context: Any) -> Request:
    request: Request = context.request
    names = [name async for name in get_user_model().objects.order_by("pk").values_list("username", flat=True)]
    return request.replace(headers=request.headers.set("x-request-users", ",".join(names)))


async def async_response(context: Any) -> Response:
    response: Response = context.response
    request_users = context.request.headers.get("x-request-users") or ""
    return response.replace(
        headers=response.headers.add(
            ("x-request-users", request_users), ("x-response-users", await sync_to_async(users)())
        )
    )


REFUSALS: Mapping[str, type[Exception]] = {
    "403": PermissionDenied,
    "404": Http404,
    "400": SuspiciousOperation,
    "500": ValueError,
}


def refuse(context: Any) -> None:
    """Raises the exception that the header ``x-refuse`` names."""
    raise REFUSALS[context.request.headers["x-refuse"]]("a secret")


def plain_end(ended: EndedRun) -> None:
    users()
    named_event(f"ended-{ended.run_id}").set()


async def async_end(ended: EndedRun) -> None:
    await sync_to_async(users)()
    named_event(f"ended-{ended.run_id}").set()


HOOKS: Mapping[str, RuntimeHooks] = {
    "plain": RuntimeHooks(on_request=plain_request, on_response=plain_response),
    "async": RuntimeHooks(on_request=async_request, on_response=async_response),
}

RUN_END_HOOKS: Mapping[str, Callable[[EndedRun], Any]] = {"plain": plain_end, "async": async_end}


def agents_of_users(_: Any) -> Mapping[str, Callable[..., Any]]:
    """A factory of agents, which returns none for a site without users."""
    return AGENTS if get_user_model().objects.exists() else {}
