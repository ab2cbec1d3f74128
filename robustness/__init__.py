"""What breaks a model, what is proved about it, and what is foreign to it."""
