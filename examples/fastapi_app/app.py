"""A FastAPI application that had a route and its users before; the runtime joins it in the last lines."""

from __future__ import annotations

from typing import Annotated

from agents import clerk
from fastapi import Depends, FastAPI, Header, HTTPException
from shop import ORDERS, user_of_token

from copilot_runtime import CopilotRuntime, Request, User
from copilot_runtime_asgi import mount_before

api = FastAPI(title="Shop")


def signed_in(authorization: Annotated[str | None, Header()] = None) -> User:
    """The dependency of the application's own routes."""
    user = user_of_token(authorization)
    if user is None:
        raise HTTPException(401, "Send your token: Authorization: Bearer ...")
    return user


@api.get("/orders")
def orders(user: Annotated[User, Depends(signed_in)]) -> list[str]:
    return ORDERS[user.id]


def identify_user(request: Request) -> User | None:
    """The same users for the runtime, which answers 401 where this gives None."""
    return user_of_token(request.headers.get("authorization"))


runtime = CopilotRuntime(agents={"default": clerk}, identify_user=identify_user)
app = mount_before(api, "/api/copilotkit", runtime=runtime)
