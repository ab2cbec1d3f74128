"""xai check: is a run what it was when it was written? Needs no torch."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from xai.cli.terminal import plain, say

TAMPERED = 1


def check(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN_DIR", help="Folder of a run.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print what was found as JSON.")] = False,
) -> int:
    """Compute digests, values, verdicts and renderings of RUN_DIR again, and list what is not as it was written."""
    from xai.reports.check import check as run_check

    found = run_check(run_dir)
    for line in found.unchecked:
        say(f"not checked: {line}")
    if as_json:
        told = asdict(found) | {"complaints": [one._asdict() for one in found.complaints]}
        typer.echo(json.dumps(told, indent=1))
    else:
        for one in found.complaints:
            typer.echo(plain(f"✗ {one.what}: {one.words}"))
        for line in found.done:
            typer.echo(f"{'checked' if found.complaints else '✓'} {plain(line)}")
    return TAMPERED if found.complaints else 0
