"""Calling a remote AG-UI endpoint over HTTP."""
