"""Seeds of loaders: what mini-batches start from, one file per kind, and the order in which they come."""
