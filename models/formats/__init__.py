"""Formats of model files: a file each, recognised by content and read without running it."""
