"""DeepFool: one step on a linear network, the nearest of all boundaries, and no more looks than it needs."""

from __future__ import annotations

import pytest
import torch

from tests.robustness.attacks.minimal import ORDER, attacked, curved, straight
from tests.robustness.victims import case, nearest
from xai.errors import NotApplicableError
from xai.robustness.attacks.deepfool import DeepFool
from xai.robustness.norms import Norm


@pytest.mark.parametrize("norm", sorted(DeepFool.norms))
@pytest.mark.parametrize("overshoot", [0.02, 0.2])
def test_a_linear_network_falls_in_one_step_past_its_nearest_boundary(norm: Norm, overshoot: float) -> None:
    given = case(straight())
    found = attacked(DeepFool(overshoot=overshoot), straight(), given, norm)
    wanted = (1 + overshoot) * (nearest(straight(), given, ORDER[norm]) + 1e-4 * 7)
    assert torch.allclose(found.distance, wanted, rtol=1e-5)
    assert (found.looks == 2).all()


def test_it_stops_at_the_first_success() -> None:
    given = case(curved(), 20)
    few, many = (attacked(DeepFool(steps=steps), curved(), given, Norm.L2) for steps in (50, 500))
    fell = few.distance.isfinite()
    assert fell.any()
    assert torch.equal(few.points[fell], many.points[fell])
    assert torch.equal(few.looks[fell], many.looks[fell])


def test_it_cannot_aim() -> None:
    DeepFool().applies(10, Norm.L2)
    with pytest.raises(NotApplicableError, match="cannot aim at a wanted"):
        DeepFool().applies(10, Norm.L2, targeted=True)
    with pytest.raises(NotApplicableError, match="knows the norms l2, linf, not l1"):
        DeepFool().applies(10, Norm.L1)
