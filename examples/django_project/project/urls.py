from __future__ import annotations

from django.contrib import admin
from django.urls import include, path
from notes.views import page

urlpatterns = [
    path("api/copilotkit", include("copilot_runtime_django.urls")),  # no trailing slash
    path("admin/", admin.site.urls),
    path("", page),
]
