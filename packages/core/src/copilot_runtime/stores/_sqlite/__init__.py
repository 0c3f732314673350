"""The store that keeps threads in a SQLite file."""
