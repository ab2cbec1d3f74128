"""Ways to bound, a file each."""
