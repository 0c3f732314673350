"""The store that keeps threads in a PostgreSQL database."""
