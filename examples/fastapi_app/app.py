"""A FastAPI application with a route and users; the last lines add the runtime."""

from __future__ import annotations

from typing import Annotated

from agents import clerk
from fastapi import Depends, FastAPI, Header, HTTPException
from shop import ORDERS, find_user

from copilot_runtime import CopilotRuntime, CorsConfig, Request, User
from copilot_runtime_asgi import CopilotMiddleware

app = FastAPI(title="Shop")


def signed_in(authorization: Annotated[str | None, Header()] = None) -> User:
    """The dependency of the application's own routes."""
    user = find_user(authorization)
    if user is None:
        raise HTTPException(401, "Send your token: Authorization: Bearer ...")
    return user


@app.get("/orders")
def orders(user: Annotated[User, Depends(signed_in)]) -> list[str]:
    return ORDERS[user.id]


def identify_user(request: Request) -> User | None:
    """Returns the same users to the runtime, which answers with 401 if this returns None."""
    return find_user(request.headers.get("authorization"))


runtime = CopilotRuntime(agents={"default": clerk}, identify_user=identify_user)
app.add_middleware(
    CopilotMiddleware,
    path="/api/copilotkit",
    runtime=runtime,
    cors=CorsConfig(allow_origins=["http://localhost:5173"]),  # where the page comes from, if not from here
)
