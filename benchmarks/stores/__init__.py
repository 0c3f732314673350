"""What stores cost: with many threads, and over a network."""
