"""Options that several verbs take, each declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
