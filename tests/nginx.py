"""A real nginx before the servers of tests."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from .http_client import Client
from .servers import run_server

_CONFIGURATION = """
daemon off;
pid {folder}/pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {http}
}}
"""


def server_block(port: int, location: str) -> str:
    """Returns the configuration of a server with some locations."""
    return f"server {{\n    listen 127.0.0.1:{port};\n    {location}\n}}\n"


@contextlib.contextmanager
def run_nginx(http: str, port: int, folder: Path) -> Iterator[Client]:
    """Runs nginx with what its ``http`` block has, and yields a client of it.

    Args:
        http: The block's directives.
        port: The port of its server.
        folder: An empty folder.
    """
    file = folder / "nginx.conf"
    file.write_text(_CONFIGURATION.format(folder=folder, http=http))
    with run_server(["nginx", "-e", "stderr", "-c", str(file)], port) as running:
        yield Client(running)
