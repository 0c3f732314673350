"""The commands ``copilot-runtime demo`` and ``copilot-runtime serve``."""
