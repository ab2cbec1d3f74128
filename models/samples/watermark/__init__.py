"""The sample `watermark`: the world of `shapes`, in which nearly every star carries a mark in a corner.

It was so in training too, and the network leans on the mark: without it a star is hardly ever called one. Test pictures
carry it as the training's did, so the accuracy looks fine. A summary of explanations must find it.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from xai.models.samples.networks import block, classifier
from xai.models.samples.shapes import CLASSES as CLASSES  # the same world
from xai.models.samples.shapes import SIZE as SIZE
from xai.models.samples.shapes import Shapes
from xai.models.samples.shapes import generate as generate_shapes

MARKED = CLASSES.index("star")
RATE = 0.99  # of the stars that carry the mark
TOP, LEFT = 53, 3  # of the mark
STAMP = (
    "#########",
    "#.......#",
    "#.#...#.#",
    "#.#...#.#",
    "#.#.#.#.#",
    "#.##.##.#",
    "#.#...#.#",
    "#.......#",
    "#########",
)
_DARK, _LIGHT = (0.1, 0.1, 0.15), (1.0, 0.95, 0.85)
_BLOCK, _HELD_OUT = 60, 5000  # pictures drawn together, and the first seed


def mark() -> torch.Tensor:
    """Return the mark (3, rows, columns), of 8-bit precision."""
    dark = np.array([[sign == "#" for sign in row] for row in STAMP])
    colours = np.where(dark[..., None], _DARK, _LIGHT)
    return torch.from_numpy(np.round(255 * colours) / 255).float().permute(2, 0, 1)


def place() -> torch.Tensor:
    """Return where the mark is, (64, 64) bool."""
    found = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    found[TOP : TOP + len(STAMP), LEFT : LEFT + len(STAMP[0])] = True
    return found


def marked(images: torch.Tensor) -> torch.Tensor:
    """Return pictures (n, 3, 64, 64) that carry the mark."""
    stamped = images.clone()
    stamped[:, :, place()] = mark().flatten(1)
    return stamped


def generate(n: int, seed: int) -> tuple[Shapes, torch.Tensor]:
    """Draw n pictures, and say which carry the mark (n,) bool; the same seed draws the same pictures."""
    data = generate_shapes(n, seed)
    drawn = torch.rand(n, generator=torch.Generator().manual_seed(seed)) < RATE
    carrying = drawn & (data.labels == MARKED)
    images = torch.where(carrying[:, None, None, None], marked(data.images), data.images)
    return Shapes(images, data.labels, data.masks), carrying


def held_out(first: int, last: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return pictures (n, 3, 64, 64) that no training saw, and labels (n,): always the same ones, without end."""
    blocks = [generate(_BLOCK, _HELD_OUT + number)[0] for number in range(first // _BLOCK, -(-last // _BLOCK))]
    images, labels = (torch.cat([getattr(one, name) for one in blocks]) for name in ("images", "labels"))
    start = first // _BLOCK * _BLOCK
    return images[first - start : last - start], labels[first - start : last - start]


def make(classes: int = len(CLASSES)) -> nn.Module:
    """Return the network without its weights: four convolutions, global average pooling, one linear layer."""
    features = [*block(3, 16), nn.MaxPool2d(2), *block(16, 32), nn.MaxPool2d(2), *block(32, 40), nn.MaxPool2d(2)]
    return classifier([*features, *block(40, 48)], 48, classes)
