"""What the samples' networks have in common: blocks of convolution, global average pooling, one linear layer."""

from __future__ import annotations

from torch import nn


def block(inputs: int, outputs: int) -> list[nn.Module]:
    """Return a 3 x 3 convolution that keeps the size, normalised over the batch, and a ReLU."""
    return [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]


def classifier(features: list[nn.Module], channels: int, classes: int) -> nn.Module:
    """Return a network without its training: the features, averaged over places, and a linear layer on them.

    Args:
        features: layers from pictures to (n, channels, height, width).
        channels: of the last of them.
        classes: how many logits come out.
    """
    network = nn.Sequential()
    network.add_module("features", nn.Sequential(*features))
    network.add_module("pool", nn.AdaptiveAvgPool2d(1))
    network.add_module("flatten", nn.Flatten())
    network.add_module("head", nn.Linear(channels, classes))
    return network
