from __future__ import annotations

from django.contrib import admin
from django.urls import include, path
from notes.views import page

urlpatterns = [
    path("api/copilotkit", include("copilot_runtime_django.urls")),  # without a slash at the end
    path("admin/", admin.site.urls),
    path("", page),
]
