"""GradientSHAP against a closed form, captum, and the axiom of completeness."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from captum.attr import GradientShap as Reference

from tests.networks import Linear, Smooth, seeded
from xai.api import explain, load
from xai.models.model import Model
from xai.reports.run import Found


def shap(model: Model, x: torch.Tensor, target: int = 1, **parameters: object) -> Found:
    given = {"gradientshap": parameters}
    return explain(model, x, methods="gradientshap", target=target, measures="none", parameters=given)["gradientshap"]


def test_of_a_linear_model_it_is_what_each_pixel_adds_to_the_mean_baseline() -> None:
    mean = (0.2, 0.4, 0.6)
    model = load(Linear(), shape=(3, 12, 10), mean=mean, std=1.0)
    x = torch.rand((3, 12, 10), generator=torch.Generator().manual_seed(1))
    colour = (x.mean((1, 2)) + torch.tensor(mean) + 0.0 + 1.0 + 0.5) / 5  # of the five fills
    found = shap(model, x, samples=10, noise=0)
    np.testing.assert_allclose(found.map, ((x - colour.view(3, 1, 1)) * Linear().weight[1].detach()).sum(0), atol=1e-5)
    assert found.record.values["completeness error"].value < 1e-5


def test_with_many_samples_it_is_captums(noise: torch.Tensor) -> None:
    network = seeded(Smooth)
    fills = torch.stack([torch.zeros(3, 1, 1), torch.zeros(3, 1, 1), torch.ones(3, 1, 1), torch.full((3, 1, 1), 0.5)])
    baselines = torch.cat([noise.mean((1, 2), keepdim=True)[None], fills]).expand(5, 3, 16, 16)
    model = load(network, shape=(3, 16, 16), mean=0.0, std=1.0)
    ours = shap(model, noise, samples=4000, noise=0).map
    state = np.random.get_state()  # captum draws baselines from it
    theirs = Reference(network).attribute(noise[None], baselines, n_samples=4000, stdevs=0.0, target=1)
    np.random.set_state(state)
    theirs = theirs[0].sum(0).detach().numpy()
    assert np.abs(ours - theirs).mean() < 0.1 * np.abs(theirs).mean()


def test_more_samples_add_up_better(noise: torch.Tensor) -> None:
    network = seeded(Smooth)
    model = load(network, shape=(3, 16, 16))
    records = [shap(model, noise, samples=samples).record for samples in (10, 5000)]
    assert "raise gradientshap.samples" in records[0].notes[0]
    assert not records[1].notes
    values = [record.values for record in records]
    errors = [value["completeness error"].value for value in values]
    assert errors[1] < 0.1 < errors[0]
    with torch.no_grad():
        assert values[0]["output"].value == pytest.approx(float(network(noise[None])[0, 1]), rel=1e-5)


@pytest.mark.parametrize("batch", [1, 7, 100])
def test_the_batch_size_does_not_matter(small: Model, noise: torch.Tensor, batch: int) -> None:
    one = shap(small, noise, batch=4, samples=20).map
    np.testing.assert_allclose(shap(small, noise, batch=batch, samples=20).map, one, rtol=1e-4, atol=1e-8)


def test_baselines_stay_in_the_inputs_range_and_are_stated(small: Model, noise: torch.Tensor) -> None:
    seen: list[torch.Tensor] = []
    graph = small.graph

    def watch(x: torch.Tensor) -> torch.Tensor:
        seen.append(x.detach())
        return graph(x)

    from dataclasses import replace

    found = shap(replace(small, forward=watch), noise, noise=1.0)
    assert all(x.min() >= 0 and x.max() <= 1 for x in seen)
    assert "image, dataset, black, white, grey" in found.record.parameters["baselines"]
