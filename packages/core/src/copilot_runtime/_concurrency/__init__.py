"""Where threads and event loops meet."""
