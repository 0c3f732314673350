"""HTTP value objects and policy: no runtime, no server."""
