"""FMN against a plain version for one input, and against the exact distances of a linear network."""

from __future__ import annotations

import math

import pytest
import torch

from tests.robustness.attacks.minimal import ORDER, attacked, curved, path, straight
from tests.robustness.victims import case, nearest
from xai.models.model import Model
from xai.robustness.attacks.fmn import Fmn
from xai.robustness.norms import Norm, shrink
from xai.robustness.search import Case

DUAL = {Norm.LINF: 1, Norm.L2: 2, Norm.L1: torch.inf}


def plain(model: Model, given: Case, norm: Norm, steps: int) -> torch.Tensor:
    """Return the points of Algorithm 1 of the paper, for one input in [0, 1].

    Two things are not the paper's: before the first success the radius never shrinks, and its estimate is passed by
    a hundred-thousandth; without them it comes to rest short of a boundary.
    """
    origin, delta, radius, points = given.x[0], torch.zeros_like(given.x[0]), 0.0, []
    far = torch.linalg.vector_norm(torch.maximum(origin, 1 - origin).flatten(), ord=ORDER[norm])
    nearest_yet, found = float(far), False
    for step in range(steps):
        x = (origin + delta).requires_grad_()
        scores = model(x[None])[0]
        goal = int(given.label if given.wanted is None else given.wanted)
        best_other = max(score for index, score in enumerate(scores) if index != goal)
        loss = best_other - scores[goal] if given.wanted is None else scores[goal] - best_other
        gradient = torch.autograd.grad(loss, x)[0]
        points.append(x.detach())
        loss = float(loss.detach())
        annealed = (1 + math.cos(math.pi * step / steps)) / 2
        alpha, gamma = 0.01 + 0.99 * annealed, 0.001 + 0.049 * annealed
        size = float(torch.linalg.vector_norm(delta.flatten(), ord=ORDER[norm]))
        if (int(scores.argmax()) == goal) == (given.wanted is not None):
            found, nearest_yet = True, min(nearest_yet, size)
            radius = min(radius * (1 - gamma), nearest_yet)
        else:
            slope = torch.linalg.vector_norm(gradient.flatten(), ord=DUAL[norm])
            estimate = 0.0 if found else (size + abs(loss) / float(slope)) * (1 + 1e-5)
            radius = max(radius * (1 + gamma), estimate)
        radius = min(radius, float(far))
        delta = delta + alpha * gradient / gradient.norm()
        delta = shrink(delta[None], torch.tensor([radius]), norm)[0]
        delta = (origin + delta).clamp(0, 1) - origin
    return torch.stack([*points, origin + delta])


@pytest.mark.parametrize("wanted", [None, 2])
@pytest.mark.parametrize("norm", sorted(Norm))
def test_every_step_is_the_papers(norm: Norm, wanted: int | None) -> None:
    given = case(curved(), 8, wanted=wanted).take(torch.tensor([3]))
    assert torch.allclose(path(Fmn(steps=25), curved(), given, norm), plain(curved(), given, norm, 25), atol=1e-4)


@pytest.mark.parametrize("norm", sorted(Norm))
def test_it_comes_near_to_the_exact_distance_of_every_input(norm: Norm) -> None:
    given = case(straight())
    found = attacked(Fmn(), straight(), given, norm)
    assert (found.distance / nearest(straight(), given, ORDER[norm]) - 1 < 1e-3).all()
