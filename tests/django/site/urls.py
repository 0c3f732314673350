"""The site's URLconf."""

from __future__ import annotations

from django.urls import include, path, re_path

from copilot_runtime import create_copilot_runtime_handler
from copilot_runtime_django import copilot_view, create_copilot_urls

from . import runtimes, views

own = copilot_view(create_copilot_runtime_handler(runtime=runtimes.members), path_kwarg="rest")

urlpatterns = [
    path("api/copilotkit", include(create_copilot_urls(runtime=runtimes.public))),
    path("members/copilotkit", include(create_copilot_urls(runtime=runtimes.members))),
    path("guarded/copilotkit", include(create_copilot_urls(runtime=runtimes.guarded, csrf_protect=True))),
    path("narrow/copilotkit", include(create_copilot_urls(runtime=runtimes.narrow))),
    path("named/copilotkit", include("copilot_runtime_django.urls")),
    path("refusing/copilotkit", include(create_copilot_urls(handler=runtimes.refusing))),
    *(
        path(f"{name}/copilotkit", include(create_copilot_urls(handler=handler)))
        for name, handler in runtimes.hooked.items()
    ),
    re_path(r"^own/copilotkit(?P<rest>(?:/.*)?)\Z", own),
    path("sign-in", views.sign_in),
    path("connections", views.connections),
    path("slashed/", views.connections),
]
