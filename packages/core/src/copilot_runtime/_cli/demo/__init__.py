"""The application of ``copilot-runtime demo``: the playground, and agents that need no API key and no network."""
