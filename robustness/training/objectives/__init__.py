"""Objectives of training, a file each."""
