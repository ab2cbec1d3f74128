"""Input times gradient against captum and a closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from captum.attr import InputXGradient as Reference

from tests.networks import Linear, cnn, seeded
from xai.api import explain, load
from xai.models.model import Model


@pytest.mark.parametrize("target", range(4))
def test_it_equals_captum(noise: torch.Tensor, target: int) -> None:
    network = seeded(cnn)
    model = load(network, shape=(3, 16, 16))
    ours = explain(model, noise, methods="inputxgradient", target=target)["inputxgradient"].map
    theirs = Reference(network).attribute(noise[None].clone().requires_grad_(), target=target).detach()[0].sum(0)
    np.testing.assert_allclose(ours, theirs, atol=1e-5 * float(theirs.abs().max()))


def test_of_a_linear_model_it_is_what_each_pixel_adds(linear: Model) -> None:
    x = torch.rand((3, 12, 10), generator=torch.Generator().manual_seed(1))
    found = explain(linear, x, methods="inputxgradient", target=2)["inputxgradient"]
    np.testing.assert_allclose(found.map, (x * Linear().weight[2].detach()).sum(0), rtol=1e-4, atol=1e-6)
    assert found.record.values["sum"].value == pytest.approx(found.record.values["output"].value, rel=1e-5)


def test_a_black_pixel_gets_nothing_as_the_limits_say(small: Model, noise: torch.Tensor) -> None:
    noise[:, 4:8, 4:8] = 0
    found = explain(small, noise, methods="inputxgradient")["inputxgradient"]
    assert not found.map[4:8, 4:8].any()
    assert found.map[:4].all()
    assert "a black pixel gets 0" in found.record.limits
