"""What ``copilot-runtime demo`` serves: a page, and agents that need no key and no network."""
