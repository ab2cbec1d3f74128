"""SmoothGrad against the plain gradient, captum, and its own random numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from captum.attr import NoiseTunnel
from captum.attr import Saliency as Reference

from tests.networks import Smooth, seeded
from xai.api import explain, load
from xai.models.model import Model


def smoothgrad(model: Model, x: torch.Tensor, seed: int = 0, **parameters: object) -> np.ndarray:
    given = {"smoothgrad": parameters}
    return explain(model, x, methods="smoothgrad", target=1, measures="none", parameters=given, seed=seed)[
        "smoothgrad"
    ].map


def test_without_noise_it_is_the_gradient(small: Model, noise: torch.Tensor) -> None:
    plain = explain(small, noise, methods="saliency", target=1, measures="none")["saliency"].map
    np.testing.assert_allclose(smoothgrad(small, noise, noise=0, samples=7, batch=3), plain, rtol=1e-5)


def test_with_many_samples_it_is_captums(noise: torch.Tensor) -> None:
    network = seeded(Smooth)
    ours = smoothgrad(load(network, shape=(3, 16, 16)), noise, noise=0.5, samples=4000)
    theirs = NoiseTunnel(Reference(network)).attribute(
        noise[None], nt_samples=4000, nt_samples_batch_size=500, stdevs=0.5, target=1, abs=False
    )
    theirs = theirs[0].abs().amax(0).numpy()
    plain = Reference(network).attribute(noise[None].clone().requires_grad_(), target=1)[0].amax(0).numpy()
    assert np.abs(ours - theirs).mean() < 0.05 * theirs.mean()
    assert np.abs(ours - plain).mean() > 0.2 * theirs.mean()


@pytest.mark.parametrize("batch", [1, 7, 100])
def test_the_batch_size_does_not_matter(small: Model, noise: torch.Tensor, batch: int) -> None:
    one = smoothgrad(small, noise, batch=4, samples=20)
    np.testing.assert_allclose(smoothgrad(small, noise, batch=batch, samples=20), one, rtol=1e-4, atol=1e-8)


def test_the_noise_is_a_share_of_the_inputs_range(noise: torch.Tensor) -> None:
    model = load(seeded(Smooth), shape=(3, 16, 16), range=(0, 255), std=255)
    found = explain(model, 255 * noise, methods="smoothgrad", parameters={"smoothgrad": {"noise": 0.1}})["smoothgrad"]
    assert found.record.parameters["deviation"] == pytest.approx(25.5)


def test_another_seed_gives_another_map(small: Model, noise: torch.Tensor) -> None:
    assert not np.array_equal(smoothgrad(small, noise), smoothgrad(small, noise, seed=1))
