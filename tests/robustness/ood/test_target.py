"""The score as a target: it is the guard's score, and its gradient is its slope."""

from __future__ import annotations

import pytest
import torch

from xai.errors import UsageError
from xai.models.model import Model
from xai.robustness.ood.features import Reader
from xai.robustness.ood.gallery import Gallery, directions
from xai.robustness.ood.guard import COMBINED, Guard
from xai.robustness.ood.target import foreignness


@pytest.mark.parametrize("name", ["energy", "mahalanobis", "knn", "features", COMBINED])
def test_it_is_the_score(digits: Model, guard: Guard, pictures: tuple[torch.Tensor, ...], name: str) -> None:
    model, target = foreignness(digits, guard, name)
    x = pictures[3][:6]
    torch.testing.assert_close(target(model(x)), guard.scores(digits, x)[name].float(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["energy", "mahalanobis", "msp", "kde", "logits"])
def test_its_gradient_is_its_slope(digits: Model, guard: Guard, pictures: tuple[torch.Tensor, ...], name: str) -> None:
    model, target = foreignness(digits, guard, name)
    x = (0.6 * pictures[3][4:5] + 0.2).requires_grad_()
    slope = torch.autograd.grad(target(model(x)).sum(), x)[0]
    along = slope / slope.norm()
    step = 1e-3
    with torch.no_grad():
        rise = (target(model(x + step * along)) - target(model(x - step * along))) / (2 * step)
    assert float(rise) == pytest.approx(float(slope.norm()), rel=0.05)


def test_an_unknown_detector_is_named(digits: Model, guard: Guard) -> None:
    with pytest.raises(UsageError, match="did you mean 'energy'"):
        foreignness(digits, guard, "enery")


def test_the_nearest_are_those_of_the_smallest_angle(digits: Model, pictures: tuple[torch.Tensor, ...]) -> None:
    seen = Reader(digits).read(pictures[0][:50])
    wanted = directions(Reader(digits).read(pictures[3][:7]))
    places, cosines = Gallery(directions(seen)).nearest(wanted, 4)
    plain = torch.nn.functional.cosine_similarity(wanted[:, None].double(), seen.features[None], dim=2)
    expected = plain.sort(dim=1, descending=True)
    assert torch.equal(places, expected.indices[:, :4])
    torch.testing.assert_close(cosines, expected.values[:, :4], atol=1e-6, rtol=0)
