"""What to write instead, for the framework, server or proxy that was recognised."""

from __future__ import annotations

import string
from collections.abc import Mapping

from .software import Software

_ANY = ""
"""The entry for software that was not recognised."""

CSRF_ADVICE = "A CSRF check refuses it: exempt the runtime, which has a check of its own, or send the token (--header)."
_SEND_USER = (
    "Send what identifies a user, as the frontend does: --header 'Authorization: Bearer ...' or --header "
    "'Cookie: ...'. If the frontend sends it already, look at what identify_user expects."
)
_AWAY = "The proxy does not reach the application, or that is shutting down or overloaded."
STATUS_ADVICE: Mapping[int, str] = {
    **dict.fromkeys((401, 403, 407), _SEND_USER),
    429: "A rate limit refuses it: wait and try again. A frontend sends several requests for each message, so a limit "
    "has to leave room for them.",
    **dict.fromkeys((502, 503, 504), _AWAY),
    500: "The log of the server says why (loggers copilot_runtime.*).",
    421: "The server does not know this host name: copilot-runtime serve has --allow-host.",
}
"""What to do about the status of a response that should have been 200, the most certain ones first."""

_SYNCHRONOUS = "def agent(input):  # not async def: a worker thread of its own runs it\n    ..."
_GTHREAD = "gunicorn --worker-class gthread --threads 64 main:application"

_SNIPPETS: Mapping[str, Mapping[str, str]] = {
    "mount": {
        "fastapi": 'app.add_middleware(CopilotMiddleware, path="$path", runtime=runtime)',
        "starlette": 'app.add_middleware(CopilotMiddleware, path="$path", runtime=runtime)',
        "flask": 'app.register_blueprint(create_copilot_blueprint(runtime=runtime), url_prefix="$path")',
        "django": 'path("$relative_path", include(create_copilot_urls(runtime=runtime)))  # no trailing slash',
        _ANY: 'create_copilot_asgi_app(runtime=runtime, base_path="$path")  # or create_copilot_wsgi_app',
    },
    "cors": {
        "fastapi": "app.add_middleware(\n"
        '    CopilotMiddleware, path="$path", runtime=runtime,\n'
        '    cors=CorsConfig(allow_origins=["$origin"], allow_credentials=$credentials),\n'
        ")",
        "starlette": "app.add_middleware(\n"
        '    CopilotMiddleware, path="$path", runtime=runtime,\n'
        '    cors=CorsConfig(allow_origins=["$origin"], allow_credentials=$credentials),\n'
        ")",
        "flask": "create_copilot_blueprint(\n"
        "    runtime=runtime,\n"
        '    cors=CorsConfig(allow_origins=["$origin"], allow_credentials=$credentials),\n'
        ")",
        "django": "create_copilot_urls(\n"
        "    runtime=runtime,\n"
        '    cors=CorsConfig(allow_origins=["$origin"], allow_credentials=$credentials),\n'
        ")",
        _ANY: 'cors=CorsConfig(allow_origins=["$origin"], allow_credentials=$credentials)',
    },
    "buffering": {
        "nginx": "location $path {\n"
        "    proxy_buffering off;  # and no proxy_ignore_headers X-Accel-Buffering\n    gzip off;\n}",
        "apache": 'ProxyPass "$path" "http://127.0.0.1:8000$path" flushpackets=on\n'
        'SetEnvIf Request_URI "^$path" no-gzip=1',
        "caddy": "reverse_proxy 127.0.0.1:8000 {\n    flush_interval -1\n}",
    },
    "compression": {
        "nginx": "gzip_types text/css application/javascript application/json;  # without text/event-stream",
        "apache": 'SetEnvIf Request_URI "^$path" no-gzip=1',
        "caddy": "@compressible not path $path $path/*\nencode @compressible gzip zstd",
        "django": "# settings.py: your own compressing middleware must skip responses with\n"
        '# response["Content-Type"] == "text/event-stream"',
    },
    "body": {
        "nginx": "location $path {\n    client_max_body_size 32m;\n}",
        "apache": "LimitRequestBody 33554432",
        "caddy": "request_body {\n    max_size 32MB\n}",
        "flask": 'app.config["MAX_CONTENT_LENGTH"] = 32 * 1024 * 1024',
    },
    "read timeout": {
        "nginx": "location $path {\n    proxy_read_timeout 60s;  # longer than the keep-alive, 15 s\n}",
        "apache": "ProxyTimeout 60",
        "gunicorn": _GTHREAD,
    },
    "host": {
        "nginx": "location $path {\n    proxy_set_header Host $$host;\n}",
        "apache": "ProxyPreserveHost On",
        "caddy": "reverse_proxy 127.0.0.1:8000 {\n    header_up Host {host}\n}",
    },
    "https redirect": {
        "uvicorn": "uvicorn main:app --proxy-headers --forwarded-allow-ips=127.0.0.1",
        "django": 'SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")',
    },
    "threads": {
        "uvicorn": _SYNCHRONOUS,
        "hypercorn": _SYNCHRONOUS,
        "daphne": _SYNCHRONOUS,
        "gunicorn": _GTHREAD,
        "django": "gunicorn --worker-class gthread --threads 64 project.wsgi",
        "flask": "gunicorn --worker-class gthread --threads 64 app:app",
        "waitress": "waitress-serve --threads=64 main:application",
        _ANY: "gunicorn --worker-class gthread --threads 64 main:application\n"
        "waitress-serve --threads=64 main:application",
    },
    "store": {
        "django": 'CopilotRuntime(..., store=django_store("default"))',
        _ANY: 'CopilotRuntime(..., store="sqlite:///copilot.db")  # one machine\n'
        'CopilotRuntime(..., store="postgresql://user@host/database")  # several; or redis://host:6379/0',
    },
}


def snippet(problem: str, software: Software, **values: str) -> str:
    """Returns what to write against a problem; empty where nothing fits what was recognised.

    Args:
        problem: a key of the table of snippets.
        software: what was recognised.
        values: what the snippet contains: ``path``, and what else its text has.
    """
    table = _SNIPPETS[problem]
    text = software.first_of(table) or table.get(_ANY, "")
    filled = {"relative_path": values.get("path", "").lstrip("/"), **values}
    return string.Template(text).substitute(filled) if text else ""
