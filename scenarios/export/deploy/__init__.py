"""A plan as what tools that serve models read: one target, one file."""
