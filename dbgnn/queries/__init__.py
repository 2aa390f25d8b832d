"""From SQL to PyG objects in memory: what a query may be, and how what it gives becomes tensors."""
