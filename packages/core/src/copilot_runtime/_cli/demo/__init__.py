"""The application of ``copilot-runtime demo``: a chat page, and agents that need no API key and no network."""
