"""Every operator: no point of a region lies outside its bounds, in float64, and where that is claimed in float32."""

from __future__ import annotations

import pytest
import torch

from tests.robustness.bounds.nets import assert_sound, ball_of, box_of, rounding_is_known
from tests.robustness.bounds.operators import CASES, PICTURE, Case, small_network
from xai.robustness.norms import Norm

pytestmark = pytest.mark.filterwarnings("ignore:Using padding=.same. with even")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_no_point_lies_outside_the_bounds_of_an_operator(case: Case) -> None:
    net, _, steps = small_network(case)
    assert rounding_is_known(steps) == case.known
    x = torch.rand(2, *PICTURE, generator=torch.Generator().manual_seed(1))
    assert_sound(net, steps, box_of(x, 0.02, 0.3))
    assert_sound(net, steps, ball_of(x, 0.3, Norm.L2), methods=["crown"])
    assert_sound(net, steps, ball_of(x, 1.0, Norm.L1), methods=["crown"])
