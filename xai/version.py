"""The version of the distribution ``xai-verify``."""

__version__ = "0.1.0"
