"""python -m xai.cli: the command `xai`."""

from xai.cli import entry

entry()
