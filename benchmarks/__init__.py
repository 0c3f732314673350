"""What the runtime costs: real servers side by side, and function calls counted in process."""
