"""The HTTP side of `HttpAgent`."""
