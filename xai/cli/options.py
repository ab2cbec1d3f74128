"""What several verbs share: options, each declared once, and the command that makes a run again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xai.cli.terminal import say
from xai.text import storable

if TYPE_CHECKING:
    from xai.reports.run import Run

ModelName = Annotated[
    str, typer.Argument(help="A file, a folder holding one, torchvision:NAME, timm:NAME or sample:NAME.")
]
Arch = Annotated[
    str | None,
    typer.Option(
        help="For files of weights: torchvision:NAME, timm:NAME or path/to/net.py:function; arguments allowed."
    ),
]
CardFile = Annotated[Path | None, typer.Option(help="Card of the model; default <stem>.yaml or model.yaml beside it.")]
ClassNames = Annotated[Path | None, typer.Option(help="File with the classes' names.")]
TrustModel = Annotated[
    bool,
    typer.Option("--trust-model", help="Let code in the model file run (a whole pickle); only if you trust it."),
]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
EngineName = Annotated[
    str | None, typer.Option("--engine", help="What runs the network where no gradient is needed: torch or openvino.")
]
Seed = Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Seed of everything random.")]
Labels = Annotated[Path | None, typer.Option(help="File with a label each, for arrays without.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Take only so many images.")]
Jobs = Annotated[int | None, typer.Option(min=1, help="Shards at once; default one a core.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run that was killed in that folder.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an earlier run in that folder.")]
RecordInstead = Annotated[bool, typer.Option("--json", help="Print the record instead of the report's path.")]


def rerun(
    verb: str,
    given: Mapping[str, Any],
    names: Sequence[str],
    sources: Sequence[str],
    renamed: Mapping[str, str] = {},
    flags: Sequence[str] = (),
    repeated: Mapping[str, Sequence[str] | None] = {},
) -> str:
    """Return the command that makes a run again, without where it was written to and what does not change it.

    Args:
        verb: that was called.
        given: what it was called with, by parameter.
        names: of the parameters that are written where they were given, in order.
        sources: the arguments that stand before the options.
        renamed: what an option is called where that is not its parameter's name.
        flags: parameters that are options without a value.
        repeated: options that may be given several times, with their values.
    """
    words = []
    for name in names:
        if given[name] is not None:
            words += [f"--{renamed.get(name, name).replace('_', '-')}", str(given[name])]
    for name, values in repeated.items():
        words += [word for value in values or () for word in (f"--{name}", value)]
    words += [f"--{name.replace('_', '-')}" for name in flags if given[name]]
    words += ["--trust-model"] if given["trust_model"] else []
    words += ["--device", given["device"], "--seed", str(given["seed"])]
    for line in given.get("parameters") or []:
        words += ["--set", line]
    ordered = [*words, "--", *sources] if any(name.startswith("-") for name in sources) else [*sources, *words]
    return storable(shlex.join(["xai", *verb.split(), *ordered]))


def listed(text: str | None) -> list[str] | None:
    """Return what an option lists, separated by commas."""
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]


def tell_run(run: Run, *, figures: bool = True) -> None:
    """Say what was assumed, what was found (with the figures of the first finding), and what was not."""
    for line in run.record.model.assumed:
        say(f"assumed: {line}")
    for line in run.record.notes:
        say(f"note: {line}")
    for finding in run.findings:
        where = finding.title if finding.input is None else f"{finding.title} on {finding.input}"
        if finding.status != "ok":
            say(f"{finding.status}: {where}: {finding.reason}")
        for note in finding.notes:
            say(f"note: {where}: {note}")
        for entry in finding.trust:
            if entry.status == "failed" or entry.speaks == "against":
                said = entry.sentence or f"failed: {entry.reason}"
                say(f"{'alarm' if entry.speaks == 'against' else 'note'}: {entry.title}: {said}")
    if figures:
        _tell_figures(run)


def _tell_figures(run: Run) -> None:
    for name, value in run.findings[0].values.items():
        if "accuracy" in name and value.interval and isinstance(value.value, float):
            low, high = (f"{100 * bound:.1f}" for bound in value.interval)
            say(f"{name}: {100 * value.value:.2f} % of {value.n} ({low} to {high})")
        elif "median" in name and isinstance(value.value, float):
            say(f"{name}: {value.value:.4g} ({value.unit})")


def tell_verdicts(run: Run, count: int | None = None) -> None:
    """Say of each input what is said of it in one sentence; of so many at most."""
    told = [finding for finding in run.findings if finding.input is not None and "said" in finding.values]
    for finding in told[:count]:
        say(f"{finding.input}: {finding.values['said'].value}")
