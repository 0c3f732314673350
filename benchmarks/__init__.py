"""Benchmarks of the runtime: real servers side by side, and function calls counted in process."""
