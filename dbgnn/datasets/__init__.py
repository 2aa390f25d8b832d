"""Graphs from elsewhere brought into tables: PyG's and networkx's."""
