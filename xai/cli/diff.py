"""xai diff: what newly fails, what is mended, what changed between two runs; needs no torch."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from xai.cli.terminal import plain, say


class FailOn(StrEnum):
    """What makes the exit code 1."""

    REQUIREMENT = "requirement"
    DECLINE = "decline"
    IMAGE = "image"
    NEVER = "never"


def diff(
    run_a: Annotated[Path, typer.Argument(metavar="RUN_A", help="Folder of the run before: the parent model's.")],
    run_b: Annotated[Path, typer.Argument(metavar="RUN_B", help="Folder of the run after.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder to write to; default xai-runs/diff-<model>-<n>.")
    ] = None,
    fail_on: Annotated[
        FailOn,
        typer.Option(
            help="Exit with 1 if a requirement newly fails; with decline also if fewer images stand than chance "
            "explains, with image also if a single one newly fails."
        ),
    ] = FailOn.DECLINE,
    as_json: Annotated[bool, typer.Option("--json", help="Print the comparison instead of the page's path.")] = False,
) -> int:
    """Compare RUN_B with RUN_A: by requirement, by image with paired tests, by map."""
    from xai.reports.diff import compare
    from xai.reports.folder import free_folder, open_run, writing
    from xai.reports.html.diff import render_diff, told

    before, after = open_run(run_a), open_run(run_b)
    found = compare(before, after)
    folder = output or free_folder("diff", found.after.model)
    text = found.model_dump_json(indent=1)
    with writing(folder) as partial:
        (partial / "diff.json").write_text(text + "\n", encoding="utf-8")
        (partial / "diff.html").write_text(render_diff(found), encoding="utf-8")
    for line in found.notes:
        say(f"note: {line}")
    for one in found.turned("newly failing"):
        say(f"newly failing: {one.id}: {one.before} before, {one.after} now: {one.said_after}")
    for one in found.turned("mended"):
        say(f"mended: {one.id}: {one.said_after}")
    for outcome in found.declined:
        say(f"declined: {outcome.finding}, {outcome.name}: {outcome.lost} images lost it, {outcome.gained} gained it")
    say(told(found))
    typer.echo(text if as_json else plain(str(folder / "diff.html")))
    return found.exit_code(fail_on.value)
