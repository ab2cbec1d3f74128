"""Lines over an interval: the curve lies between them, and they are about as near to it as lines can be."""

from __future__ import annotations

import math

import pytest
import torch

from tests.robustness.bounds.curves import CURVES, PERIODIC, defined
from xai.robustness.bounds.curve import Curve, lines
from xai.robustness.bounds.elementwise import Elementwise, Wave
from xai.robustness.bounds.functions import COS, SIN
from xai.robustness.bounds.interval import Interval
from xai.robustness.bounds.rounding import Arithmetic, Rounding

REAL = Rounding(Arithmetic.REAL, torch.float64)
POINTS = 65


def boxes(curve: Curve, reach: float, count: int = 150) -> Interval:
    """Return intervals (n, 1) of all sizes: random ones, at bends and turns, on one side of 0, and single points."""
    generator = torch.Generator().manual_seed(0)

    def uniform(low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand(count, generator=generator, dtype=torch.float64)

    special = torch.tensor([0.0, *curve.bends, *curve.turns], dtype=torch.float64)
    width = 10 ** uniform(-14, math.log10(reach))
    lower = torch.cat([uniform(-reach / 4, reach / 4), special.repeat(count)[:count] - width * uniform(0, 1)])
    lower = torch.cat([lower, special.repeat(count)[:count], special.repeat(count)[:count] - width])
    upper = lower + width.repeat(4)
    upper[::13] = lower[::13]
    keep = defined(curve, lower, upper) & (lower >= -reach) & (upper <= reach)
    return Interval(lower[keep][:, None], upper[keep][:, None])


def between(box: Interval) -> torch.Tensor:
    """Return points (points, n, 1) of intervals, ends included."""
    share = torch.linspace(0, 1, POINTS, dtype=torch.float64)[:, None, None]
    return torch.minimum(torch.maximum(box.lower + share * box.width, box.lower), box.upper)


def assert_between(step: Elementwise, box: Interval) -> None:
    """Assert that a step's values lie within its lines, and within its interval, for points of boxes."""
    found = step.relax(box)
    ones = torch.ones(1, *box.lower.shape, dtype=torch.float64)
    slack = REAL.backward(found.sizes(), found.network_sizes(), 0)
    (slope_low,), low = found.pull(ones)
    (slope_high,), high = found.pull(-ones)
    points = between(box)
    values = step.value(points)
    assert bool((values >= slope_low * points + low[..., None] - slack).all())
    assert bool((values <= -slope_high * points - high[..., None] + slack).all())
    reach = step.interval(REAL, box)
    assert bool(((values >= reach.lower) & (values <= reach.upper)).all())


@pytest.mark.parametrize("reach", [2 * math.pi, 40.0, 1e6])
@pytest.mark.parametrize("name", CURVES)
def test_the_curve_lies_between_its_lines(name: str, reach: float) -> None:
    if reach > 40 and ("exp" in name or name in PERIODIC):
        pytest.skip("its values overflow there, or it is given around 0 only")
    curve = CURVES[name]
    if name not in PERIODIC:
        assert_between(Elementwise(curve), boxes(curve, reach))


@pytest.mark.parametrize("curve", [SIN, COS], ids=PERIODIC)
def test_a_wave_lies_between_its_lines_far_from_zero(curve: Curve) -> None:
    around = boxes(curve, 2 * math.pi)
    for shift in (0.0, 1.0, -40.0, 1e5):
        assert_between(Wave(curve), Interval(around.lower + shift, around.upper + shift))


def envelope(curve: Curve, box: Interval) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what lines below and above can reach at most in the middle: the envelopes there, over pairs of points."""
    points = between(box)[:, :, 0].T
    values = curve.function(points)
    half = POINTS // 2
    left, right = points[:, :half, None], points[:, None, half + 1 :]
    share = (points[:, half, None, None] - left) / (right - left)
    chords = ((1 - share) * values[:, :half, None] + share * values[:, None, half + 1 :]).flatten(1)
    middle = values[:, half]
    return torch.minimum(chords.amin(1), middle), torch.maximum(chords.amax(1), middle)


@pytest.mark.parametrize("name", [name for name in CURVES if name not in PERIODIC])
def test_the_lines_are_about_as_near_as_lines_can_be(name: str) -> None:
    curve = CURVES[name]
    box = boxes(curve, 12.0)
    wide = box.width[:, 0] > 0.05
    box = Interval(box.lower[wide], box.upper[wide])
    below, above = lines(curve, box)
    lowest, highest = envelope(curve, box)
    gap = (above.at(box.middle) - below.at(box.middle))[:, 0]
    best = highest - lowest
    far = gap > 1.1 * best + 1e-6 * (1 + highest.abs())
    assert int(far.sum()) == 0, f"{box.lower[far][:4]} {box.upper[far][:4]} {gap[far][:4]} {best[far][:4]}"
