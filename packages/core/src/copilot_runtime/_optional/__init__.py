"""Packages that are extras."""
