"""The project's ``asgi.py``, extended by the runtime."""

from __future__ import annotations

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
django_application = get_asgi_application()

# Only here, because models can be imported only after Django is set up.
from copilot_runtime import CopilotRuntime  # noqa: E402
from copilot_runtime_asgi import CopilotMiddleware  # noqa: E402
from copilot_runtime_django import django_context, django_user  # noqa: E402

from .agents import auditor  # noqa: E402

runtime = CopilotRuntime(agents={"default": auditor}, identify_user=django_user)
application = CopilotMiddleware(django_application, path="/api/copilotkit", runtime=runtime, framework=django_context)
