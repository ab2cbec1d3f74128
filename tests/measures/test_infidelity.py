"""Infidelity and max-sensitivity against captum, and the trivial maps that cheat on one of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from captum.metrics import infidelity as captum_infidelity
from captum.metrics import sensitivity_max

from tests.measures.subjects import gradient, subject
from tests.networks import Linear
from xai.measures.infidelity import Infidelity, _squares, infidelity, max_sensitivity
from xai.models.model import Model
from xai.runtime import Runtime


def test_infidelity_equals_captums_after_scaling(small: Model, noise: torch.Tensor) -> None:
    torch.manual_seed(0)
    covered = _squares(60, 16, 16)
    map_ = torch.from_numpy(gradient(small, noise, small.target(1))).double()
    with torch.no_grad():
        inputs = torch.where(covered[:, None].bool(), torch.zeros(3, 1, 1), noise)
        drops = (small(noise[None])[:, 1] - small(inputs)[:, 1]).double()

        def perturb(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return covered[:, None].repeat(1, 3, 1, 1), inputs

        theirs = captum_infidelity(
            lambda x: small(x)[:, 1],
            perturb,
            noise[None],
            (map_ / 3).float()[None, None].repeat(1, 3, 1, 1),  # captum adds the channels up
            n_perturb_samples=60,
            normalize=True,
        )
    ours = infidelity(covered.double(), map_, drops)
    assert ours == pytest.approx(float(theirs) / float(drops.square().mean()), rel=1e-4)
    assert 0 < ours < 1


def test_max_sensitivity_equals_captums(small: Model, noise: torch.Tensor) -> None:
    generator = torch.Generator().manual_seed(5)
    neighbours = [(noise + 0.04 * torch.rand(noise.shape, generator=generator) - 0.02).clamp(0, 1) for _ in range(6)]
    target = small.target(1)
    maps = [gradient(small, x, target) for x in (noise, *neighbours)]

    def explain_all(inputs: tuple[torch.Tensor, ...] | torch.Tensor) -> tuple[torch.Tensor]:
        x = inputs[0] if isinstance(inputs, tuple) else inputs
        return (torch.stack([torch.from_numpy(gradient(small, one, target)) for one in x]),)

    theirs = sensitivity_max(
        explain_all,
        noise[None],
        perturb_func=lambda x: torch.stack(neighbours),
        n_perturb_samples=6,
        norm_ord="fro",
    )
    assert max_sensitivity(maps[0], maps[1:]) == pytest.approx(float(theirs), rel=1e-4)


def test_the_true_contributions_of_a_linear_model_foretell_every_drop(linear: Model) -> None:
    x = torch.rand((3, 12, 10), generator=torch.Generator().manual_seed(1))
    said = Infidelity(fill="black").measure(subject(linear, x, gradient), Runtime())
    assert said.values["infidelity"].value == pytest.approx(0, abs=1e-6)
    assert said.values["max-sensitivity"].value < 0.1
    assert said.speaks == "for"


def test_a_map_of_the_wrong_sign_foretells_nothing(linear: Model) -> None:
    x = torch.rand((3, 12, 10), generator=torch.Generator().manual_seed(1))
    wrong = subject(linear, x, lambda *asked: -gradient(*asked))
    said = Infidelity(fill="black").measure(wrong, Runtime())
    assert said.values["infidelity"].value == pytest.approx(1)
    assert said.speaks == "against"


def test_a_constant_map_is_insensitive_and_unfaithful() -> None:
    model_weights = Linear().weight.detach()[0]
    x = torch.rand((3, 12, 10), generator=torch.Generator().manual_seed(1))
    torch.manual_seed(0)
    covered = _squares(300, 12, 10).double()
    drops = (covered[:, None] * (x * model_weights).double()).sum((1, 2, 3))
    assert infidelity(covered, torch.ones(12, 10).double(), drops) > 0.8
    assert max_sensitivity(np.ones((12, 10)), [np.ones((12, 10))] * 3) == 0
    assert infidelity(covered, torch.zeros(12, 10).double(), drops) == pytest.approx(1)


@pytest.mark.parametrize("shape", [(16, 16), (5, 30), (2, 2), (1, 1)])
def test_squares_lie_inside_and_differ(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    covered = _squares(50, *shape)
    assert covered.shape == (50, *shape)
    assert covered.flatten(1).any(1).all()
    if shape == (16, 16):
        assert len(covered.unique(dim=0)) > 30
        assert covered.flatten(1).sum(1).max() <= 64


def test_both_numbers_always_stand_together(linear: Model) -> None:
    x = torch.rand((3, 12, 10), generator=torch.Generator().manual_seed(1))
    said = Infidelity(squares=20, neighbours=2).measure(subject(linear, x, gradient), Runtime())
    assert set(said.values) == {"infidelity", "max-sensitivity"}
    assert "infidelity" in said.sentence
    assert "max-sensitivity" in said.sentence
