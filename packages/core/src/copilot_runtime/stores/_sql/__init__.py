"""What the stores share that keep threads in the tables of a database."""
