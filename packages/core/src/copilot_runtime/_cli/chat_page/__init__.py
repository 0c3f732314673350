"""A chat page for any runtime: static files, which use the runtime's REST routes from the browser."""
