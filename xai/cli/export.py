"""xai export: a model as a file for other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xai.cli.options import Arch, CardFile, ClassNames, ModelName, TrustModel
from xai.cli.terminal import say


def export(
    model: ModelName,
    output: Annotated[Path, typer.Option("-o", "--output", help="File to write: net.onnx or net.pt2.")],
    arch: Arch = None,
    card: CardFile = None,
    labels: ClassNames = None,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Seed of weights that no file gives.")] = 0,
    trust_model: TrustModel = False,
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
