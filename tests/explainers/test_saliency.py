"""Saliency against captum and a closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from captum.attr import Saliency as Reference

from tests.networks import Linear, cnn, seeded
from xai.api import explain, load
from xai.models.model import Model


@pytest.mark.parametrize("target", range(4))
def test_it_equals_captum(noise: torch.Tensor, target: int) -> None:
    network = seeded(cnn)
    ours = explain(load(network, shape=(3, 16, 16)), noise, methods="saliency", target=target)["saliency"].map
    theirs = Reference(network).attribute(noise[None].clone().requires_grad_(), target=target, abs=True)
    np.testing.assert_allclose(ours, theirs[0].amax(0), atol=1e-5 * float(theirs.max()))


def test_of_a_linear_model_it_is_the_largest_weight_of_a_pixel(linear: Model) -> None:
    ours = explain(linear, torch.rand(3, 12, 10), methods="saliency", target=1)["saliency"].map
    np.testing.assert_allclose(ours, Linear().weight[1].detach().abs().amax(0), rtol=1e-6)


def test_it_is_per_unit_of_the_input(noise: torch.Tensor) -> None:
    model = load(Linear((3, 16, 16)), shape=(3, 16, 16), std=0.25)
    ours = explain(model, noise, methods="saliency", target=0)["saliency"].map
    np.testing.assert_allclose(ours, 4 * Linear((3, 16, 16)).weight[0].detach().abs().amax(0), rtol=1e-6)
