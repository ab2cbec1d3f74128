"""xai report: render a run again; needs no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(run_dir: Annotated[Path, typer.Argument(metavar="RUN_DIR", help="Folder of a run.")]) -> None:
    """Make report.html, and an audit's other files, again from the record in RUN_DIR."""
    from xai.reports.folder import rerender

    typer.echo(str(rerender(run_dir)))
