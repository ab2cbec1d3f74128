"""DDN against a plain version for one input, and against the exact distances of a linear network."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from tests.robustness.attacks.minimal import attacked, curved, path, straight
from tests.robustness.victims import case, nearest
from xai.models.model import Model
from xai.robustness.attacks.ddn import Ddn
from xai.robustness.norms import Norm
from xai.robustness.search import Case


def plain(model: Model, given: Case, steps: int) -> torch.Tensor:
    """Return the points of Algorithm 1 of the paper, for one input in [0, 1], without its rounding to 256 levels."""
    origin, delta, length, points = given.x[0], torch.zeros_like(given.x[0]), 1.0, []
    goal = given.label if given.wanted is None else given.wanted
    sign = 1 if given.wanted is None else -1
    for step in range(steps):
        x = (origin + delta).requires_grad_()
        scores = model(x[None])
        gradient = torch.autograd.grad(sign * cross_entropy(scores, goal), x)[0]
        points.append(x.detach())
        size = 0.01 + 0.99 * (1 + math.cos(math.pi * step / steps)) / 2
        delta = delta + size * gradient / gradient.norm()
        fooled = (int(scores.argmax()) == int(goal)) == (given.wanted is not None)
        length = min(length * (0.95 if fooled else 1.05), float(torch.maximum(origin, 1 - origin).norm()))
        delta = (origin + delta * length / delta.norm()).clamp(0, 1) - origin
    return torch.stack([*points, origin + delta])


@pytest.mark.parametrize("wanted", [None, 2])
@pytest.mark.parametrize("row", [0, 3])
def test_every_step_is_the_papers(wanted: int | None, row: int) -> None:
    given = case(curved(), 8, wanted=wanted).take(torch.tensor([row]))
    assert torch.allclose(path(Ddn(steps=25), curved(), given, Norm.L2), plain(curved(), given, 25), atol=1e-4)


def test_it_comes_near_to_the_exact_distance() -> None:
    given = case(straight())
    found = attacked(Ddn(steps=300), straight(), given, Norm.L2)
    # the cross-entropy raises all other classes at once: it is no tool for four digits
    over = found.distance / nearest(straight(), given, 2) - 1
    assert over.median() < 0.02
    assert (over < 0.1).double().mean() > 0.8


def test_a_gradient_of_zeros_leaves_numbers() -> None:
    import xai

    flat = xai.load(lambda x: 0 * x.flatten(1)[:, :3] + torch.arange(3.0), shape=(1, 2, 2), range=(0.0, 1.0))
    points = path(Ddn(steps=5), flat, case(flat, 1), Norm.L2)
    assert points.isfinite().all()
