"""A graph in two halves is the whole, wherever it is cut."""

from __future__ import annotations

import pytest
import torch

from tests.architectures import ARCHITECTURES, SIDE, Loader


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_two_halves_are_the_whole(architecture: str, loaded: Loader) -> None:
    model = loaded(architecture)
    x = torch.rand((2, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(0))
    layers = list(model.graph.layers.values())
    with torch.no_grad():
        expected = model(x)
        for layer in layers[:: max(1, len(layers) // 8)]:
            first, second = model.graph.split(layer)
            value, others = first(x)
            torch.testing.assert_close(value, model.activation(x, layer))
            torch.testing.assert_close(second(value, *others), expected)


def test_a_value_that_is_given_anew_reaches_the_outputs_only_behind_the_cut(loaded: Loader) -> None:
    model = loaded("resnet18")
    x = torch.rand((1, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(0))
    tap = model.tap(x, model.layer("layer3"))
    assert tap.value.is_leaf
    torch.testing.assert_close(tap.outputs, model(x))
    (gradient,) = torch.autograd.grad(tap.outputs[0, 0], tap.value)
    whole = model.graph.run(x, {"layer3": lambda value: value * 1.01}).detach()
    expected = float((gradient * tap.value.detach() * 0.01).sum())
    assert float(whole[0, 0] - tap.outputs[0, 0].detach()) == pytest.approx(expected, rel=0.2)
