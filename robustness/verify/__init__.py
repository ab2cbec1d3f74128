"""What is proved: complete verification on top of the bounds, and evidence that others can check."""
