"""Folded batch normalisation: fewer steps, the same outputs."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.networks import seeded
from xai.api import load
from xai.models.layout import operator


def trained() -> nn.Module:
    """Return convolutions with and without biases, whose normalisations have statistics of their own."""
    layers = [nn.Conv2d(3, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 3), nn.BatchNorm2d(4)]
    for layer in layers:
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 2)
            nn.init.uniform_(layer.bias, -1, 1)
            layer.running_mean, layer.running_var = torch.randn_like(layer.bias), 0.5 + torch.rand_like(layer.bias)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def test_outputs_are_the_same_without_normalisations() -> None:
    model = load(seeded(trained), shape=(3, 12, 10))
    x = torch.rand((5, 3, 12, 10), generator=torch.Generator().manual_seed(1))
    assert model.graph is not None
    assert model.quick is not None
    before, after = (
        sum("batch_norm" in operator(node) for node in graph.nodes)
        for graph in (model.graph.module.graph, model.quick.graph)
    )
    assert (before, after) == (2, 0)
    with torch.no_grad():
        assert model.outputs(x).numpy() == pytest.approx(model(x).numpy(), abs=1e-5)
