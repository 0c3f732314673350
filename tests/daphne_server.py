"""Daphne with the application that a factory makes, which its own command cannot call.

python -m tests.daphne_server MODULE:FACTORY PORT
"""

from __future__ import annotations

import importlib
import sys

from daphne.endpoints import build_endpoint_description_strings
from daphne.server import Server


def main() -> None:
    target, port = sys.argv[1:]
    module, factory = target.split(":")
    app = getattr(importlib.import_module(module), factory)()
    Server(app, endpoints=build_endpoint_description_strings(host="127.0.0.1", port=int(port))).run()


if __name__ == "__main__":
    main()
