"""The command line: thin over the engine, a file a verb. Heavy imports happen inside the verbs."""

from __future__ import annotations

import sys


def entry() -> None:
    """Run the command `xai`; Ctrl-C ends it without a traceback from the first import on."""
    try:
        from xai.cli.main import run
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(run(sys.argv[1:]))
