"""The command line: the demo, and a development server."""
