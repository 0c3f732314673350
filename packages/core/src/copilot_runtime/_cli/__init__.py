"""The commands of ``copilot-runtime``."""
