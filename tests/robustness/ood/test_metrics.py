"""Figures against scikit-learn and pytorch-ood, and intervals that hold the truth."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import binomtest, norm
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from tests.robustness.ood.subjects import generator
from xai.errors import AnalysisError, UsageError
from xai.robustness.ood.metrics import auroc, evaluate


def scores(count: int, seed: int, mean: float = 0.0, digits: int = 8) -> torch.Tensor:
    return (mean + torch.randn(count, generator=generator(seed), dtype=torch.float64)).round(decimals=digits)


@pytest.mark.parametrize("digits", [8, 1, 0])
def test_figures_are_scikit_learns_ties_included(digits: int) -> None:
    inside, outliers = scores(300, 1, digits=digits), scores(170, 2, 1.0, digits)
    together, truth = torch.cat((inside, outliers)).numpy(), np.r_[np.zeros(300), np.ones(170)]
    found = evaluate(inside, outliers, rounds=0)
    assert found["AUROC"].value == pytest.approx(roc_auc_score(truth, together))
    assert auroc(inside, outliers) == pytest.approx(found["AUROC"].value)
    assert found["AUPR-out"].value == pytest.approx(average_precision_score(truth, together))
    assert found["AUPR-in"].value == pytest.approx(average_precision_score(1 - truth, -together))
    passed, kept, _ = roc_curve(1 - truth, -together, drop_intermediate=False)
    assert found["FPR95"].value == pytest.approx(passed[np.argmax(kept >= 0.95)])


def test_figures_are_pytorch_oods() -> None:
    metrics = pytest.importorskip("pytorch_ood.metrics", reason="pytorch-ood is not installed")
    inside, outliers = scores(300, 1), scores(170, 2, 1.0)
    theirs = metrics.OODMetrics()
    theirs.update(torch.cat((inside, outliers)), torch.cat((torch.zeros(300), -torch.ones(170))))
    expected, found = theirs.compute(), evaluate(inside, outliers, rounds=0)
    assert found["AUROC"].value == pytest.approx(float(expected["AUROC"]), abs=1e-5)
    for ours, other in (("AUPR-out", "AUPR-OUT"), ("AUPR-in", "AUPR-IN")):  # theirs joins the points by lines
        assert found[ours].value == pytest.approx(float(expected[other]), abs=5e-3)


def test_perfect_useless_and_reversed() -> None:
    low, high = torch.zeros(50), torch.ones(40)
    assert {name: one.value for name, one in evaluate(low, high, rounds=10).items()} == {
        "AUROC": 1.0,
        "AUPR-in": 1.0,
        "AUPR-out": 1.0,
        "FPR95": 0.0,
    }
    assert evaluate(low, low, rounds=0)["AUROC"].value == 0.5
    assert evaluate(high, low, rounds=0)["AUROC"].value == 0.0
    assert evaluate(high, low, rounds=0)["FPR95"].value == 1.0


def test_what_no_image_showed_is_not_ruled_out() -> None:
    """Of perfectly told images every draw is perfect, too: a bootstrap alone would be certain."""
    found = evaluate(torch.zeros(30), torch.ones(50), rounds=20)
    assert [found["AUROC"].low, found["AUROC"].high] == [pytest.approx(binomtest(30, 30).proportion_ci().low), 1]
    assert found["FPR95"].low == 0
    assert found["FPR95"].high >= binomtest(0, 50).proportion_ci().high
    reversed_ = evaluate(torch.ones(30), torch.zeros(50), rounds=20)
    assert [reversed_["AUROC"].low, reversed_["AUROC"].high] == [0, pytest.approx(1 - found["AUROC"].low)]
    assert reversed_["FPR95"].low <= binomtest(50, 50).proportion_ci().low


def test_intervals_are_seeded_and_hold_the_truth() -> None:
    truth, hits = norm.cdf(1 / 2**0.5), 0
    for seed in range(100):
        inside, outliers = scores(80, seed), scores(60, 1000 + seed, 1.0)
        found = evaluate(inside, outliers, rounds=200, seed=seed)["AUROC"]
        assert found.low <= found.value <= found.high
        hits += found.low <= truth <= found.high
    assert binomtest(hits, 100, 0.92, alternative="less").pvalue > 0.05, "a percentile bootstrap is a little short"
    assert evaluate(inside, outliers, 50, seed=1) == evaluate(inside, outliers, 50, seed=1)
    assert evaluate(inside, outliers, 50, seed=1) != evaluate(inside, outliers, 50, seed=2)


@pytest.mark.parametrize(("many", "others"), [(50, 40), (12, 300)])
def test_a_perfect_figure_is_no_certainty(many: int, others: int) -> None:
    inside, outliers = scores(many, 1), scores(others, 2, 50.0)
    found = evaluate(inside, outliers)
    pairs = min(many, others)
    low = binomtest(pairs, pairs).proportion_ci(0.95).low
    assert (found["AUROC"].low, found["AUROC"].high) == pytest.approx((low, 1.0), abs=1e-9)
    reverse = evaluate(outliers, inside)["AUROC"]
    assert (reverse.low, reverse.high) == pytest.approx((0.0, 1 - low), abs=1e-9)
    assert found["FPR95"].low == 0.0
    assert found["FPR95"].high > binomtest(0, others).proportion_ci(0.95).high, "the threshold is not certain either"
    assert 0 < found["AUPR-out"].low < 0.95
    assert all(one.low <= one.value <= one.high for one in found.values())
    more = evaluate(scores(5000, 1), scores(5000, 2, 50.0), rounds=2)
    assert min(more["AUROC"].low, more["AUPR-in"].low, 1 - more["FPR95"].high) > 0.9


def test_an_interval_that_reaches_the_end_holds_the_truth_as_often_as_it_says() -> None:
    """A tenth of all outliers look like what is known, and few draws show one of them."""
    lost = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        outliers = torch.from_numpy(np.where(rng.random(12) < 0.1, -50.0, 50.0))
        lost += not evaluate(scores(40, seed), outliers, rounds=40)["AUROC"].low <= 0.9
    assert lost <= 10, "a bootstrap alone misses it in a quarter of them"


def test_without_draws_the_ends_hold_for_any_distribution() -> None:
    found = evaluate(scores(200, 1), scores(200, 2, 2.0), rounds=0)
    drawn = evaluate(scores(200, 1), scores(200, 2, 2.0), rounds=200)
    for name, one in found.items():
        assert one.low < drawn[name].low < drawn[name].high < one.high, name


def test_aupr_moves_with_the_share_of_outliers_and_auroc_does_not() -> None:
    inside, outliers = scores(400, 1), scores(400, 2, 1.0)
    all_, few = evaluate(inside, outliers, 0), evaluate(inside, outliers.sort().values[::8], 0)
    assert all_["AUROC"].value == pytest.approx(few["AUROC"].value, abs=0.01)
    assert few["AUPR-out"].value < all_["AUPR-out"].value - 0.2


def test_nothing_and_nan_are_refused() -> None:
    with pytest.raises(UsageError, match="received none of one kind"):
        evaluate(torch.zeros(0), torch.zeros(3))
    with pytest.raises(AnalysisError, match="received NaN"):
        evaluate(torch.zeros(3), torch.tensor([0.0, float("nan")]))
    assert auroc(torch.zeros(3), torch.full((2,), torch.inf)) == 1.0
