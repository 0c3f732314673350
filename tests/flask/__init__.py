"""The Flask adapter, in applications and on servers as people use them."""
