"""Streams of samples from files, folders and arrays."""
