"""Intervals of shares against their definition."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from xai.reports.intervals import bounded_mean, clopper_pearson, trials_needed


@pytest.mark.parametrize(("count", "total"), [(0, 10), (10, 10), (3, 10), (997, 1000), (1, 1)])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.999])
def test_it_is_the_exact_interval(count: int, total: int, confidence: float) -> None:
    wanted = binomtest(count, total).proportion_ci(confidence, method="exact")
    assert clopper_pearson(count, total, confidence) == pytest.approx((wanted.low, wanted.high), abs=1e-10)


def test_without_trials_nothing_is_known() -> None:
    assert clopper_pearson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.97])
def test_the_interval_holds_the_truth_as_often_as_it_says(share: float) -> None:
    total = 60
    held = sum(
        binom.pmf(count, total, share)
        for count in range(total + 1)
        if clopper_pearson(count, total)[0] <= share <= clopper_pearson(count, total)[1]
    )
    assert held >= 0.95


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.97, 1.0])
@pytest.mark.parametrize("total", [1, 4, 60])
def test_a_means_interval_holds_the_truth_as_often_as_it_says(share: float, total: int) -> None:
    ends = [bounded_mean(count / total, total) for count in range(total + 1)]
    held = sum(binom.pmf(count, total, share) for count, (low, high) in enumerate(ends) if low <= share <= high)
    assert held >= 0.95


@pytest.mark.parametrize("mean", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("total", [1, 24, 1000])
def test_a_means_interval_is_within_hoeffdings_simpler_one(mean: float, total: int) -> None:
    low, high = bounded_mean(mean, total)
    half = np.sqrt(np.log(2 / 0.05) / (2 * total))
    assert mean - half - 1e-12 <= low <= mean <= high <= mean + half + 1e-12
    assert 0 <= low < high <= 1


def test_without_values_nothing_is_known_of_their_mean() -> None:
    assert bounded_mean(0.3, 0) == (0.0, 1.0)


@pytest.mark.parametrize(("share", "half_width"), [(0.5, 0.05), (0.9, 0.01), (1.0, 0.01), (0.0, 0.02)])
def test_so_many_trials_are_enough_and_needed(share: float, half_width: float) -> None:
    def widest(total: int) -> float:
        count = round(share * total)
        low, high = clopper_pearson(count, total)
        return max(count / total - low, high - count / total)

    needed = trials_needed(share, half_width)
    assert widest(needed) <= half_width
    assert widest(needed - max(2, needed // 50)) > half_width
