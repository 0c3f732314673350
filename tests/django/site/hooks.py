"""Hooks that ask the database, plain and asynchronous ones, and a factory of agents that does."""

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
    return request.replace(headers=request.headers.set("x-asked", users()))


def plain_response(context: Any) -> Response:
    response: Response = context.response
    asked = context.request.headers.get("x-asked") or ""
    cookies = (("set-cookie", "a=1; Path=/"), ("set-cookie", "b=2; HttpOnly; Path=/; SameSite=Strict"))
    return response.replace(headers=response.headers.add(("x-asked", asked), ("x-answered", users()), *cookies))


async def async_request(context: Any) -> Request:
    request: Request = context.request
    names = [name async for name in get_user_model().objects.order_by("pk").values_list("username", flat=True)]
    return request.replace(headers=request.headers.set("x-asked", ",".join(names)))


async def async_response(context: Any) -> Response:
    response: Response = context.response
    asked = context.request.headers.get("x-asked") or ""
    return response.replace(
        headers=response.headers.add(("x-asked", asked), ("x-answered", await sync_to_async(users)()))
    )


REFUSALS: Mapping[str, type[Exception]] = {
    "403": PermissionDenied,
    "404": Http404,
    "400": SuspiciousOperation,
    "500": ValueError,
}


def refuse(context: Any) -> None:
    """Raises what the header ``x-refuse`` names, as a view would."""
    raise REFUSALS[context.request.headers["x-refuse"]]("a secret")


def plain_end(ended: EndedRun) -> None:
    users()
    named_event(f"told-{ended.run_id}").set()


async def async_end(ended: EndedRun) -> None:
    await sync_to_async(users)()
    named_event(f"told-{ended.run_id}").set()


HOOKS: Mapping[str, RuntimeHooks] = {
    "plain": RuntimeHooks(on_request=plain_request, on_response=plain_response),
    "async": RuntimeHooks(on_request=async_request, on_response=async_response),
}

RUN_END_HOOKS: Mapping[str, Callable[[EndedRun], Any]] = {"plain": plain_end, "async": async_end}


def agents_of_users(_: Any) -> Mapping[str, Callable[..., Any]]:
    """An agent factory: nobody gets an agent of a site without users."""
    return AGENTS if get_user_model().objects.exists() else {}
