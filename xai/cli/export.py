"""xai export: a model as a file for other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xai.cli.terminal import say


def export(
    model: Annotated[
        str, typer.Argument(help="A file, a folder holding one, torchvision:NAME, timm:NAME or sample:NAME.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="File to write: net.onnx or net.pt2.")],
    arch: Annotated[
        str | None, typer.Option(help="For files of weights: torchvision:NAME, timm:NAME or path/to/net.py:function.")
    ] = None,
    card: Annotated[
        Path | None, typer.Option(help="Card of the model; default <stem>.yaml or model.yaml beside it.")
    ] = None,
    labels: Annotated[Path | None, typer.Option(help="File with the classes' names.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Seed of weights that no file gives.")] = 0,
    trust_model: Annotated[
        bool, typer.Option("--trust-model", help="Let code in the model file run; only for files that you trust.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")] = False,
) -> None:
    """Write MODEL as ONNX or torch.export, with a card beside it, and check that it gives the same.

    The file takes pixels as the card says, in any batch: mean and std are inside.
    """
    from xai.models.loading import load
    from xai.models.writing import writable, write

    writable(output, overwrite=overwrite)  # told before the model is loaded
    loaded = load(model, arch=arch, card=card, labels=labels, seed=seed, trusted=trust_model)
    for line in loaded.assumed:
        say(f"assumed: {line}")
    worst = write(loaded, output, overwrite=overwrite)
    say(f"checked: outputs differ by at most {worst:.2g} of the largest")
    typer.echo(str(output))
