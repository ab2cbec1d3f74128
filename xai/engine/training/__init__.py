"""Training: data in parts, the trained network as a file, what it reaches beside its parent."""
