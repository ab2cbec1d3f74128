"""Networks that benchmarks train: what `xai train benchmarks/_nets.py:NAME` opens."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


def small() -> nn.Module:
    """Return the network for 28 x 28 digits of Wong and Kolter 2018: two strided convolutions, two matrices."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 4, 2, 1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 4, 2, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 7 * 7, 100),
        nn.ReLU(),
        nn.Linear(100, 10),
    )


class Contrast(nn.Module):
    """What stands out from the picture's mean, at half the size."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (n, channels, height / 2, width / 2)."""
        x = F.avg_pool2d(x, 2)
        return x - x.mean((2, 3), keepdim=True)


class Gathered(nn.Module):
    """The largest and the mean value of each channel."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (n, 2 * channels)."""
        return torch.cat([x.amax((2, 3)), x.mean((2, 3))], 1)


def contrast(width: int = 16) -> nn.Module:
    """Return a network for the sample `shapes` that looks at contrasts alone."""
    return nn.Sequential(
        Contrast(),
        *_block(3, width, 2),
        *_block(width, 2 * width, 1),
        *_block(2 * width, 4 * width, 2),
        Gathered(),
        nn.Linear(8 * width, 64),
        nn.ReLU(),
        nn.Linear(64, 6),
    )


def _block(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 5, stride, 2, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
