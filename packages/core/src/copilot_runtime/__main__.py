"""``python -m copilot_runtime`` is the command ``copilot-runtime``."""

import sys

from ._cli.main import main

if __name__ == "__main__":
    sys.exit(main())
