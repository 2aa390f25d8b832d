"""From tensors back to tables: columns written back, predictions, encoded columns."""
