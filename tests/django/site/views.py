"""The site's own views."""

from __future__ import annotations

from django.contrib.auth import authenticate, login
from django.db import transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.middleware.csrf import get_token
from django.views.decorators.csrf import csrf_exempt

from ..counting.base import counts


@csrf_exempt
def sign_in(request: HttpRequest) -> HttpResponse:
    """Signs a user in, and returns the session's CSRF token."""
    login(request, authenticate(request, username=request.POST["username"], password=request.POST["password"]))
    return JsonResponse({"token": get_token(request)})


@transaction.non_atomic_requests
def connections(request: HttpRequest) -> HttpResponse:
    """Returns how many database connections were opened and closed, without using one."""
    return JsonResponse(counts())
