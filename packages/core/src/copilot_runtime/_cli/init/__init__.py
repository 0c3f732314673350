"""``copilot-runtime init``: writes a small application with a frontend, users, a store and tests."""
