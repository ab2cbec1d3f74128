"""What several verbs share: options, each declared once, and the command that makes a run again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from xai.text import storable

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
Seed = Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Seed of everything random.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an earlier run in that folder.")]
RecordInstead = Annotated[bool, typer.Option("--json", help="Print the record instead of the report's path.")]


def rerun(
    verb: str, given: Mapping[str, Any], names: Sequence[str], sources: Sequence[str], renamed: Mapping[str, str] = {}
) -> str:
    """Return the command that makes a run again, without where it was written to and what does not change it.

    Args:
        verb: that was called.
        given: what it was called with, by parameter.
        names: of the parameters that are written where they were given, in order.
        sources: the arguments that stand before the options.
        renamed: what an option is called where that is not its parameter's name.
    """
    words = []
    for name in names:
        if given[name] is not None:
            words += [f"--{renamed.get(name, name).replace('_', '-')}", str(given[name])]
    words += ["--trust-model"] if given["trust_model"] else []
    words += ["--device", given["device"], "--seed", str(given["seed"])]
    for line in given.get("parameters") or []:
        words += ["--set", line]
    ordered = [*words, "--", *sources] if any(name.startswith("-") for name in sources) else [*sources, *words]
    return storable(shlex.join(["xai", verb, *ordered]))
