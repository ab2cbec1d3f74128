"""What stands for nothing: the colour that covers a part of an input."""

from __future__ import annotations

from typing import Literal

import torch

from xai.errors import UsageError
from xai.models.card import Input

NamedFill = Literal["image", "dataset", "black", "white", "grey"]
Fill = NamedFill | float
FILLS = "means of the image or the dataset, black, white, grey, or a number in input units"


def fill_colour(fill: Fill, x: torch.Tensor, spec: Input) -> torch.Tensor:
    """Return the colour, (channels, 1, 1) in input units, that a fill means for x (channels, height, width)."""
    low, high = spec.span
    if fill == "image":
        return x.mean(dim=(-2, -1), keepdim=True)
    if fill == "dataset":
        values = list(spec.mean)
    else:
        named = {"black": low, "white": high, "grey": (low + high) / 2}
        values = [named[fill] if isinstance(fill, str) else fill]
    return torch.tensor(values, dtype=x.dtype, device=x.device).view(-1, 1, 1).expand(x.shape[0], 1, 1)


def check_fill(fill: str | float, spec: Input, name: str) -> None:
    """Raise UsageError if a number is no value of an input."""
    low, high = spec.span
    if not isinstance(fill, str) and not low <= fill <= high:
        raise UsageError(f"{name} is {fill:g}; expected a value in [{low:g}, {high:g}] (input units)")


def numbers(fill: torch.Tensor) -> str:
    """Write a colour down."""
    return ", ".join(f"{value:.4g}" for value in fill.flatten().tolist())
