"""The joined verdict: what surprise is, what one family sees is not lost, and false alarms stay as wanted."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

from tests.robustness.ood.subjects import generator
from xai.errors import UsageError
from xai.robustness.ood.calibration import at_keep_rate
from xai.robustness.ood.combination import choose, combination, joined, leave_one_out, surprise
from xai.robustness.ood.metrics import auroc


def normal(count: int, seed: int, mean: float = 0.0) -> torch.Tensor:
    return mean + torch.randn(count, generator=generator(seed), dtype=torch.float64)


def test_surprise_is_minus_the_log_of_the_share_that_is_as_high() -> None:
    reference = normal(99, 1).sort().values
    found = surprise(reference, reference[[0, 49, 80]])
    assert found.tolist() == pytest.approx([-math.log(0.99), -math.log(0.5), -math.log(0.19)])


def test_surprise_rises_without_a_jump_and_goes_on_in_proportion() -> None:
    reference = normal(200, 2).sort().values
    scores = torch.linspace(-6, 12, 20_001, dtype=torch.float64)
    found = surprise(reference, scores)
    steps = found.diff()
    assert (steps >= 0).all()
    assert steps.max() < 0.2
    far = surprise(reference, torch.tensor([8.0, 9.0, 10.0], dtype=torch.float64))
    assert far.diff().tolist() == pytest.approx([float(far[1] - far[0])] * 2)


@pytest.mark.parametrize("reference", [[1.0], [1.0, 1.0], [0.0] * 30, [0.0] * 29 + [1.0]])
def test_surprise_of_few_or_equal_scores_is_finite(reference: list[float]) -> None:
    found = surprise(torch.tensor(reference, dtype=torch.float64), torch.tensor([-1.0, 0.0, 0.5, 1.0, 2.0]))
    assert torch.isfinite(found).all()
    assert (found.diff() >= 0).all()


def test_joined_is_the_harmonic_mean_p_value() -> None:
    p = torch.rand(5, 40, generator=generator(3), dtype=torch.float64)
    assert joined(-p.log()).tolist() == pytest.approx((-np.log(1 / np.mean(1 / p.numpy(), axis=0))).tolist())


def test_no_outlier_is_missed_that_one_of_many_sees() -> None:
    """Nine detectors see nothing of a kind of outlier, one sees it clearly; another kind all see a little."""
    reference, inside = ({f"{k}": normal(500, s + k) for k in range(10)} for s in (0, 100))
    one = {f"{k}": normal(500, 200 + k, mean=6.0 if k == 4 else 0.0) for k in range(10)}
    all_ = {f"{k}": normal(500, 300 + k, mean=1.5) for k in range(10)}
    made = combination(reference)
    assert auroc(made.score(inside), made.score(one)) > 0.99
    best = max(auroc(inside[name], all_[name]) for name in all_)
    assert auroc(made.score(inside), made.score(all_)) > best


def test_false_alarms_stay_as_wanted_whatever_detectors_share() -> None:
    """Of detectors that say nearly the same, and whose marginals come of the reference, over seeded splits."""
    alarms, count = 0, 0
    for seed in range(200):
        common = normal(240, seed)
        scores = {f"{k}": common + 0.2 * normal(240, 1000 * (k + 1) + seed) for k in range(4)}
        parts = [{name: values[rows] for name, values in scores.items()} for rows in torch.arange(240).split(80)]
        made = combination(parts[0])
        threshold = at_keep_rate(made.score(parts[1]), 0.9)
        alarms += int((~threshold.inside(made.score(parts[2])))[:1].sum())
        count += 1
    assert binomtest(alarms, count, 0.1, alternative="greater").pvalue > 0.05
    assert alarms > 0


def test_detectors_that_mislead_are_left_out() -> None:
    reference = {"good": normal(300, 1), "other": normal(300, 2), "bad": normal(300, 3)}
    outliers = {
        "near": {"good": normal(300, 4, 2.0), "other": normal(300, 5, 1.0), "bad": normal(300, 6, -3.0)},
        "far": {"good": normal(300, 7, 1.0), "other": normal(300, 8, 2.0), "bad": normal(300, 9, -3.0)},
    }
    assert choose(reference, outliers) == ("good", "other")
    assert choose(reference, {}) == ("good", "other", "bad")


def test_each_set_is_judged_by_what_the_others_chose() -> None:
    reference, inside = ({"a": normal(200, s), "b": normal(200, s + 1)} for s in (1, 3))
    seen_by = {
        "a": {"a": normal(200, 5, 3.0), "b": normal(200, 6)},
        "b": {"a": normal(200, 7), "b": normal(200, 8, 3.0)},
    }
    sets = {"x": seen_by["a"], "y": seen_by["a"], "z": seen_by["b"]}
    found = leave_one_out(reference, inside, sets)
    for name, scores in sets.items():
        others = {other: one for other, one in sets.items() if other != name}
        made = combination(reference, choose(reference, others))
        assert found[name] == auroc(made.score(inside), made.score(scores))
    assert found["z"] < 0.7, "no other set asked for the detector that sees this one"


def test_members_without_scores_are_refused() -> None:
    with pytest.raises(UsageError, match="received none of nothing"):
        combination({"a": normal(20, 1)}, ("a", "nothing"))
