"""What so many draws can say, in closed form."""

from __future__ import annotations

import math
from fractions import Fraction
from statistics import NormalDist

import pytest

from xai.errors import UsageError
from xai.robustness.smoothing.plan import BLOCK, Smoothing, Use


def tail(count: int, total: int, share: float) -> Fraction:
    """Return the exact probability of at least so many successes."""
    p = Fraction(share)
    return sum((math.comb(total, k) * p**k * (1 - p) ** (total - k) for k in range(count, total + 1)), Fraction(0))


@pytest.mark.parametrize("alpha", [0.001, 0.05, 0.7])
@pytest.mark.parametrize("count", [1, 7, 20, 39, 40])
def test_the_bound_is_the_largest_share_that_rarely_gives_so_many(count: int, alpha: float) -> None:
    lower = Smoothing(0.25, n=40, alpha=alpha).lower(count)
    assert Fraction(alpha) * (1 - Fraction(1, 10**9)) < tail(count, 40, lower) <= Fraction(alpha)


@pytest.mark.parametrize("n", [1, 100, 1000, 100_000])
def test_the_bound_has_its_closed_forms_at_both_ends(n: int) -> None:
    plan = Smoothing(0.25, n=n)
    assert plan.lower(0) == 0
    assert plan.lower(1) == pytest.approx(-math.expm1(math.log1p(-0.001) / n), rel=1e-9)
    assert plan.lower(n) == pytest.approx(0.001 ** (1 / n), rel=1e-9)


def test_the_bound_holds_for_any_true_share_in_all_but_alpha_of_the_cases() -> None:
    plan = Smoothing(0.25, n=60, alpha=0.05)
    bounds = [plan.lower(count) for count in range(61)]
    for share in (0.01, 0.3, 0.5, 0.52, 0.9, 0.99):
        misled = next((count for count, lower in enumerate(bounds) if lower > share), 61)
        assert tail(misled, 60, share) <= Fraction(5, 100)


@pytest.mark.parametrize(("n", "sigmas"), [(1000, 2.4635), (100_000, 3.8115)])
def test_the_ceiling_is_what_unanimous_draws_certify(n: int, sigmas: float) -> None:
    plan = Smoothing(0.25, n=n)
    assert plan.ceiling == pytest.approx(0.25 * sigmas, abs=1e-4)
    assert plan.ceiling == pytest.approx(0.25 * NormalDist().inv_cdf(0.001 ** (1 / n)), rel=1e-9)
    assert plan.ceiling == plan.radius(plan.lower(n))


def test_too_few_draws_certify_nothing() -> None:
    assert Smoothing(1.0, n=9).ceiling == 0  # .001 ** (1 / 9) is below one half
    assert Smoothing(1.0, n=10).ceiling > 0


def test_half_is_not_enough_for_a_radius() -> None:
    plan = Smoothing(2.0)
    assert plan.radius(0.5) == plan.radius(0.3) == plan.radius(0.0) == 0
    assert plan.radius(0.5000001) == pytest.approx(2 * NormalDist().inv_cdf(0.5000001), rel=1e-6)


def test_blocks_hold_every_draw_once() -> None:
    blocks = Smoothing(0.25, n0=100, n=2 * BLOCK + 1).blocks
    assert [(block.use, block.number, block.draws) for block in blocks] == [
        (Use.SELECTION, 0, 100),
        (Use.ESTIMATION, 0, BLOCK),
        (Use.ESTIMATION, 1, BLOCK),
        (Use.ESTIMATION, 2, 1),
    ]


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ({"sigma": 0.0}, "sigma"),
        ({"sigma": -1.0}, "sigma"),
        ({"sigma": math.inf}, "sigma"),
        ({"sigma": math.nan}, "sigma"),
        ({"sigma": True}, "sigma"),
        ({"sigma": "0.25"}, "sigma"),
        ({"sigma": 0.25, "n0": 0}, "n0"),
        ({"sigma": 0.25, "n": 0}, "n"),
        ({"sigma": 0.25, "n": 10.0}, "n"),
        ({"sigma": 0.25, "n": True}, "n"),
        ({"sigma": 0.25, "alpha": 0.0}, "alpha"),
        ({"sigma": 0.25, "alpha": 1.0}, "alpha"),
        ({"sigma": 0.25, "alpha": math.nan}, "alpha"),
    ],
)
def test_numbers_out_of_range_are_refused_by_name_with_what_came(asked: dict[str, float], name: str) -> None:
    with pytest.raises(UsageError, match=rf"^{name}: expected .*, received {asked[name]!r}; "):
        Smoothing(**asked)  # type: ignore[arg-type]
