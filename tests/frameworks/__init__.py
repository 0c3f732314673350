"""Agents of other frameworks, in process: the real packages with models that need no network."""
