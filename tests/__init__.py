"""What the runtime does, seen from outside, and the fixture runtime that shows it."""
