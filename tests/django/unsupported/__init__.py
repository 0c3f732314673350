"""A database backend of a kind that stores do not support."""
