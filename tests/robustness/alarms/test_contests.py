"""When one way of attacking beats another beyond chance."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import binomtest

from xai.reports.records import Speaks
from xai.robustness.alarms.base import LEVEL, Contest, Contests


def mask(count: int, total: int = 64, start: int = 0) -> torch.Tensor:
    return (torch.arange(total) >= start) & (torch.arange(total) < start + count)


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (7, 0), (6, 0), (20, 5), (3, 9), (1, 1)])
def test_chance_is_the_exact_sign_test(gained: int, lost: int) -> None:
    contest = Contest(mask(lost, start=40), mask(gained))
    assert (contest.gained, contest.lost) == (gained, lost)
    if gained + lost:
        expected = binomtest(gained, gained + lost, alternative="greater").pvalue
        assert contest.chance == pytest.approx(expected, rel=1e-12)
    else:
        assert contest.chance == 1


@pytest.mark.parametrize(
    ("ordinary", "other", "speaks"),
    [
        (mask(0), mask(7), "against"),
        (mask(0), mask(6), "neither"),  # 1 in 64: more often than 1 in 100
        (mask(10), mask(10), "for"),
        (mask(10), mask(8), "for"),
        (mask(10), mask(12), "neither"),
        (mask(0), mask(0), "neither"),
    ],
)
def test_the_verdict_follows_from_the_counts(ordinary: torch.Tensor, other: torch.Tensor, speaks: Speaks) -> None:
    contests = Contests(("one", ordinary), {"other": other})
    assert contests.speaks == speaks
    assert contests.sentence.endswith(".")


def test_more_ways_share_the_chance_of_a_false_alarm() -> None:
    one = Contests(("one", mask(0)), {"other": mask(7)})
    two = Contests(("one", mask(0)), {"other": mask(7), "third": mask(0)})
    assert (one.speaks, two.speaks) == ("against", "neither")
    assert two.level == LEVEL / 2
    assert two.best == "other"
    assert two.values["only to other"].value == 7
