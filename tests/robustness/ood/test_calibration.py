"""Thresholds keep what they say, as often as they say."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import binom, binomtest, norm

from tests.robustness.ood.subjects import generator
from xai.errors import AnalysisError, UsageError
from xai.robustness.ood.calibration import (
    Calibration,
    at_false_positive_rate,
    at_keep_rate,
    best_split,
    kept_of,
    p_values,
)
from xai.robustness.ood.metrics import auroc

SPLITS = 200


def normal(count: int, seed: int = 0, mean: float = 0.0) -> torch.Tensor:
    return mean + torch.randn(count, generator=generator(seed), dtype=torch.float64)


def test_the_threshold_is_the_order_statistic() -> None:
    scores = torch.arange(1, 100, dtype=torch.float64)[torch.randperm(99, generator=generator())]
    found = at_keep_rate(scores, 0.95)
    assert found.value == 95
    assert found.keeps.value == 0.95
    low, high = (int(end) for end in found.between)
    below, above = binom(99, 0.95).cdf(low - 1), binom(99, 0.95).sf(high - 1)
    assert below <= 0.025 < binom(99, 0.95).cdf(low), "a higher end would be too high"
    assert above <= 0.025 < binom(99, 0.95).sf(high - 2), "a lower one too low"
    assert found.inside(torch.tensor([95.0, 95.1])).tolist() == [True, False]


@pytest.mark.parametrize("count", [60, 256])
def test_intervals_hold_the_truth_as_often_as_they_say(count: int) -> None:
    """Two hundred seeded sets: the share that is kept of all is known, since the scores are Gaussian."""
    found = [at_keep_rate(normal(count, seed), 0.95, 0.9) for seed in range(SPLITS)]
    kept = norm.cdf([one.value for one in found])
    shares = sum(one.keeps.low <= share <= one.keeps.high for one, share in zip(found, kept, strict=True))
    places = sum(one.between[0] <= norm.ppf(0.95) <= one.between[1] for one in found)
    for hits in (shares, places):
        assert binomtest(int(hits), SPLITS, 0.9, alternative="less").pvalue > 0.05
    assert binomtest(int(shares), SPLITS, 0.9).pvalue > 0.01, "of shares it is exact"
    assert kept.mean() == pytest.approx(math.ceil(0.95 * (count + 1)) / (count + 1), abs=0.01)


def test_what_is_kept_of_another_set_is_told() -> None:
    """As users measured: thresholds of 256 images kept 91 to 97 % of another 256."""
    low, high = kept_of(256, 0.95, 256)
    assert (low / 256, high / 256) == pytest.approx((0.91, 0.98), abs=0.01)
    hits = 0
    for seed in range(SPLITS):
        threshold = at_keep_rate(normal(256, seed), 0.95)
        hits += low <= int(threshold.inside(normal(256, 1000 + seed)).sum()) <= high
    assert binomtest(hits, SPLITS, 0.95, alternative="less").pvalue > 0.05


def test_ties_keep_more_never_less() -> None:
    found = at_keep_rate(torch.tensor([0.0] * 50 + [1.0] * 50), 0.9)
    assert found.value == 1.0
    assert found.inside(torch.tensor([1.0])).all()


def test_too_few_images_are_refused_with_the_number_that_is_enough() -> None:
    with pytest.raises(UsageError, match=r"expected at least 19 held-back images to keep 0\.95 of all, received 18"):
        at_keep_rate(normal(18), 0.95)
    assert at_keep_rate(normal(19), 0.95).keeps.value == 0.95
    with pytest.raises(UsageError, match=r"at least 19 known outliers for a false-positive rate of 0\.05, received 18"):
        at_false_positive_rate(normal(18), 0.05)
    at_false_positive_rate(normal(19), 0.05)


@pytest.mark.parametrize("rate", [0.0, 1.0, -1.0, float("nan")])
def test_rates_that_cannot_be_are_refused(rate: float) -> None:
    with pytest.raises(UsageError, match="expected a keep rate above 0 and below 1"):
        at_keep_rate(normal(100), rate)
    with pytest.raises(UsageError, match="expected a false-positive rate above 0 and below 1"):
        at_false_positive_rate(normal(100), rate)


def test_scores_that_are_no_numbers_and_no_scores_are_refused() -> None:
    for value in (math.nan, math.inf):
        with pytest.raises(AnalysisError, match="received 1 that are not"):
            at_keep_rate(torch.cat((normal(50), torch.tensor([value]))))
    with pytest.raises(UsageError, match="received none"):
        at_keep_rate(torch.zeros(0))


def test_known_outliers_pass_at_the_wanted_rate_on_average() -> None:
    passed, inside = [], 0
    for seed in range(SPLITS):
        found = at_false_positive_rate(normal(99, seed, mean=4.0), 0.1, normal(100, 5000 + seed))
        passed.append(norm.cdf(found.value - 4.0))
        inside += found.accepts.low <= passed[-1] <= found.accepts.high
        kept = norm.cdf(found.value)
        assert found.keeps.low - 0.1 <= kept <= found.keeps.high + 0.1
    assert np.mean(passed) == pytest.approx(0.1, abs=3 * np.std(passed) / SPLITS**0.5)
    assert inside >= 0.95 * SPLITS


def test_outliers_that_tie_count_as_passed() -> None:
    found = at_false_positive_rate(torch.ones(100), 0.05)
    assert not found.inside(torch.ones(1)).any(), "all of them would pass"


def test_the_best_split_is_the_best_of_all() -> None:
    held, outliers = normal(80, 1), normal(50, 2, mean=1.5)
    found = best_split(held, outliers)

    def right(value: float) -> float:
        return float((held <= value).double().mean() + (outliers > value).double().mean())

    every = torch.cat((held, outliers, torch.tensor([-9.0, 9.0])))
    assert right(found.value) == pytest.approx(max(right(float(value)) for value in every))
    assert found.keeps.value == float((held <= found.value).double().mean())
    assert found.accepts.value == float((outliers <= found.value).double().mean())
    assert found.accepts.low < found.accepts.value < found.accepts.high


def test_p_values_of_images_like_those_held_back_are_at_most_any_level_that_often() -> None:
    below = np.zeros(SPLITS)
    for seed in range(SPLITS):
        scores = normal(40, seed)
        below[seed] = (p_values(scores[:39], scores[39:]) <= 0.1).sum()
    assert binomtest(int(below.sum()), SPLITS, 0.1, alternative="greater").pvalue > 0.05
    held = torch.tensor([1.0, 2.0, 2.0, 3.0])
    expected = [1.0, 1.0, 0.8, 0.8, 0.4, 0.4, 0.2]
    assert p_values(held, torch.tensor([0.0, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0])).tolist() == pytest.approx(expected)


def test_p_value_and_threshold_never_disagree() -> None:
    held = normal(99, 3).round(decimals=1)
    calibration = Calibration(held.sort().values, at_keep_rate(held, 0.9))
    new = normal(500, 4).round(decimals=1)
    out = ~calibration.threshold.inside(new)
    assert torch.equal(out, calibration.p_values(new) <= 0.1 + 1e-12)
    assert auroc(-calibration.p_values(new)[~out], -calibration.p_values(new)[out]) == 1.0
