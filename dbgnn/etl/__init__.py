"""From ad-hoc SQL to PyG objects in memory, and back: queries, encoders, splits, write-back."""
