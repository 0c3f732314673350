"""The site of the servers that these tests start: runtimes, and what a project has around them."""
