"""Panels of the report: a file a family of findings."""
