"""The sample `shapes`: one of six objects on a textured background, with the object's mask.

The object is the only thing that tells the class, so a good explanation must point at it: the mask is a ground truth.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from xai.models.samples.networks import block, classifier

CLASSES = ("circle", "square", "triangle", "ring", "cross", "star")
SIZE = 64
_BLOCK, _HELD_OUT = 60, 1000  # pictures drawn together, and the first seed


@dataclass(frozen=True)
class Shapes:
    """Pictures with their labels and masks.

    Args:
        images: (n, 3, 64, 64) float32 in [0, 1], of 8-bit precision.
        labels: (n,) int64.
        masks: (n, 64, 64) bool, true on the object.
    """

    images: torch.Tensor
    labels: torch.Tensor
    masks: torch.Tensor


def generate(n: int, seed: int) -> Shapes:
    """Draw n pictures; the same seed draws the same pictures."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % len(CLASSES))
    drawn = [_picture(int(label), rng) for label in labels]
    images = np.stack([image for image, _ in drawn]).astype(np.float32) / 255.0
    return Shapes(
        torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(),
        torch.from_numpy(labels.astype(np.int64)),
        torch.from_numpy(np.stack([mask for _, mask in drawn])),
    )


def held_out(first: int, last: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return pictures (n, 3, 64, 64) that no training saw, and labels (n,): always the same ones, without end."""
    blocks = [generate(_BLOCK, _HELD_OUT + number) for number in range(first // _BLOCK, -(-last // _BLOCK))]
    images, labels = (torch.cat([getattr(one, name) for one in blocks]) for name in ("images", "labels"))
    start = first // _BLOCK * _BLOCK
    return images[first - start : last - start], labels[first - start : last - start]


def _picture(label: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return one picture, (64, 64, 3) bytes, and its mask."""
    mask = _mask(label, rng)
    background = _texture(rng)
    ground = background.mean(axis=(0, 1))
    colour = rng.uniform(0, 1, 3)
    while np.abs(colour - ground).mean() < 0.25:
        colour = rng.uniform(0, 1, 3)
    body = colour + 0.15 * (_texture(rng) - 0.5)
    picture = np.where(mask[..., None], body, background) + rng.normal(0, 0.02, (SIZE, SIZE, 3))
    return np.round(255 * np.clip(picture, 0, 1)).astype(np.uint8), mask


def _texture(rng: np.random.Generator) -> np.ndarray:
    """Return a smooth coloured pattern (64, 64, 3): three waves of random direction and colour."""
    rows, columns = np.mgrid[0:SIZE, 0:SIZE] / SIZE
    pattern = np.tile(rng.uniform(0.2, 0.8, 3), (SIZE, SIZE, 1))
    for _ in range(3):
        direction, frequency, phase = rng.uniform(0, np.pi), rng.uniform(1, 8), rng.uniform(0, 2 * np.pi)
        wave = np.sin(2 * np.pi * frequency * (rows * np.cos(direction) + columns * np.sin(direction)) + phase)
        pattern += 0.12 * wave[..., None] * rng.uniform(-1, 1, 3)
    return pattern


def _mask(label: int, rng: np.random.Generator) -> np.ndarray:
    """Return where the object is, (64, 64) bool: its size, place and rotation are random."""
    radius = rng.uniform(9, 15)
    row, column = rng.uniform(radius + 2, SIZE - radius - 2, 2)
    angle = rng.uniform(0, 2 * np.pi)
    rows, columns = np.mgrid[0:SIZE, 0:SIZE].astype(np.float64)
    x, y = (columns + 0.5 - column) / radius, (rows + 0.5 - row) / radius
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    distance, direction = np.hypot(u, v), np.arctan2(v, u)
    masks: list[np.ndarray] = [
        distance < 0.9,
        np.maximum(abs(u), abs(v)) < 0.75,
        distance * np.cos((direction % (2 * np.pi / 3)) - np.pi / 3) < 0.5,
        (distance < 1.0) & (distance > 0.55),
        (np.minimum(abs(u), abs(v)) < 0.27) & (np.maximum(abs(u), abs(v)) < 1.0),
        distance < 0.45 + 0.55 * abs(1 - 2 * ((direction * 5 / (2 * np.pi)) % 1)),
    ]
    return masks[label]


def make(classes: int = len(CLASSES)) -> nn.Module:
    """Return the network without its weights: four convolutions, global average pooling, one linear layer."""
    features = [*block(3, 16), nn.MaxPool2d(2), *block(16, 32), nn.MaxPool2d(2), *block(32, 64), nn.MaxPool2d(2)]
    return classifier([*features, *block(64, 96)], 96, classes)
