"""FAB-T: exact on linear networks; the published loop, step by step; its aims and its search."""

from __future__ import annotations

import pytest
import torch

from tests.robustness.attacks.minimal import ORDER, attacked, curved, path, straight
from tests.robustness.victims import case, nearest
from xai.models.model import Model
from xai.robustness.attacks.fab_t import FabT
from xai.robustness.norms import Norm
from xai.robustness.planes import to_plane
from xai.robustness.search import Case


@pytest.mark.parametrize("norm", sorted(Norm))
def test_the_smallest_change_of_a_linear_network_is_exact(norm: Norm) -> None:
    given = case(straight(), 20)
    found = attacked(FabT(), straight(), given, norm)
    assert torch.allclose(found.distance, nearest(straight(), given, ORDER[norm]), rtol=1e-4, atol=0)


def plain(model: Model, given: Case, norm: Norm, steps: int) -> torch.Tensor:
    """Return the points of Algorithm 1 of the paper toward the likeliest other class, for one input in [0, 1]."""
    origin, x = given.x[:1], given.x[:1]
    label = int(given.label)
    toward = int(given.clean[0].topk(2).indices[1])
    points = [origin]
    for step in range(steps):
        x = x.detach().requires_grad_()
        scores = model(x)[0]
        gap = scores[toward] - scores[label]
        slope = torch.autograd.grad(gap, x)[0]
        gap, x = gap.detach(), x.detach()
        here = to_plane(x, slope, -gap[None], norm, 0, 1)
        there = to_plane(origin, slope, -(gap + (slope * (origin - x)).sum())[None], norm, 0, 1)
        sizes = [float(torch.linalg.vector_norm(way.flatten(), ord=ORDER[norm])) for way in (here, there)]
        alpha = min(sizes[0] / sum(sizes), 0.1)
        x = ((1 - alpha) * (x + 1.05 * here) + alpha * (origin + 1.05 * there)).clamp(0, 1)
        points.append(x)
        if int(model(x).argmax()) != label and step + 1 < steps:
            x = 0.9 * x + 0.1 * origin
            points.append(x)
    return torch.cat(points)


@pytest.mark.parametrize("norm", sorted(Norm))
def test_every_step_is_the_papers(norm: Norm) -> None:
    given = case(curved(), 8).take(torch.tensor([3]))
    attack = FabT(targets=1, steps=15, search=0)
    wanted = plain(curved(), given, norm, 15)
    assert len(wanted) > 17  # some were pulled back
    assert torch.allclose(path(attack, curved(), given, norm), wanted, atol=1e-4)


def test_the_search_at_the_end_brings_it_nearer_and_its_looks_are_as_many_as_said() -> None:
    given = case(curved(), 12)
    without, with_search = (
        attacked(FabT(targets=2, steps=10, search=looks), curved(), given, Norm.L2) for looks in (0, 3)
    )
    fell = without.distance.isfinite()
    assert (with_search.distance <= without.distance).all()
    assert (with_search.distance < without.distance)[fell].double().mean() > 0.5
    assert (with_search.looks - without.looks <= 2 * 3).all()
    assert (without.looks <= 2 * 20).all()


def test_more_aims_are_never_worse_and_there_are_no_more_than_other_classes() -> None:
    given = case(curved(), 12)
    few, all_four, more = (attacked(FabT(targets=count, steps=10), curved(), given, Norm.LINF) for count in (1, 4, 9))
    assert (all_four.distance <= few.distance).all()
    assert (all_four.distance < few.distance).any()
    assert torch.equal(all_four.distance, more.distance)
    assert torch.equal(all_four.looks, more.looks)


def test_a_wanted_class_is_the_only_aim() -> None:
    given = case(curved(), 12, wanted=2)
    found = attacked(FabT(steps=40), curved(), given, Norm.L2)
    fell = found.distance.isfinite()
    assert fell.double().mean() > 0.5
    assert (curved()(found.points[fell]).argmax(1) == 2).all()
    assert (found.looks <= 2 * 40 + 3).all()
