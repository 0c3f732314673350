"""The site that the servers of these tests serve."""
