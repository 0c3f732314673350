"""The blueprint in Flask applications as people write and serve them."""
