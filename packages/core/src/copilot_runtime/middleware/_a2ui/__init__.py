"""A2UI: surfaces that an agent describes, and that the frontend draws with a catalog of components."""
