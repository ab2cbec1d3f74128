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


@pytest.mark.parametrize(
    ("run", "other", "speaks", "said"),
    [
        (
            mask(14),
            mask(24),
            "against",
            "10 of 50 images that one left standing at 0.1 fall to other: the figure is too high.",
        ),
        (
            mask(14),
            mask(15),
            "neither",
            "1 of 50 images that one left standing at 0.1 falls to other: the figure is too high by that;",
        ),
        (mask(30), mask(22, start=20), "against", "12 of 34 images that one left"),  # what it lost makes up for nothing
        (mask(30), mask(20), "for", "20 of 64 images fall to other, 30 to one: none that one left standing at 0.1."),
        (mask(0), mask(0), "neither", "there is nothing to compare"),
    ],
)
def test_what_a_run_left_standing_speaks_against_its_figure(
    run: torch.Tensor, other: torch.Tensor, speaks: Speaks, said: str
) -> None:
    contests = Contests(("one", run), {"other": other}, figure=0.1)
    assert contests.speaks == speaks
    assert said in contests.sentence


def test_more_ways_share_the_chance_of_a_false_alarm() -> None:
    one = Contests(("one", mask(0)), {"other": mask(7)})
    two = Contests(("one", mask(0)), {"other": mask(7), "third": mask(0)})
    assert (one.speaks, two.speaks) == ("against", "neither")
    assert two.level == LEVEL / 2
    assert two.best == "other"
    assert two.values["only to other"].value == 7
