"""python -m xai.cli: the command `xai`."""

from xai.cli.main import main

main()
