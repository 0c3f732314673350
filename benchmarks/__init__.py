"""Benchmarks of the runtime: real servers side by side, what grows, and function calls counted in process."""
