"""How the features of mini-batches reach them: what is chosen, hot rows, plans for the others, memory used again."""
