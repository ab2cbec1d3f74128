"""Every operator: no point of a region lies outside its bounds, in float64, and where that is claimed in float32."""

from __future__ import annotations

import pytest
import torch

from tests.robustness.bounds.nets import assert_sound, ball_of, box_of, lowered
from tests.robustness.bounds.operators import CASES, PICTURE, Case, Surrounded
from xai.robustness.norms import Norm


@pytest.mark.filterwarnings("ignore:Using padding=.same. with even")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_no_point_lies_outside_the_bounds_of_an_operator(case: Case) -> None:
    torch.manual_seed(0)
    net = Surrounded(case).eval()
    _, steps = lowered(net, PICTURE)
    x = torch.rand(2, *PICTURE)
    assert_sound(net, steps, box_of(x, 0.02, 0.3), known=case.known)
    assert_sound(net, steps, ball_of(x, 0.3, Norm.L2), known=case.known, methods=["crown"])
    assert_sound(net, steps, ball_of(x, 1.0, Norm.L1), known=case.known, methods=["crown"])
