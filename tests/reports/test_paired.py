"""Paired tests against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from xai.reports.paired import changed, holm, mcnemar, shifted


@given(st.integers(0, 40), st.integers(0, 40))
def test_mcnemar_is_the_two_tails_of_a_fair_coin(lost: int, gained: int) -> None:
    total = lost + gained
    own = binom.pmf(lost, total, 0.5)
    wanted = sum(p for k in range(total + 1) if (p := binom.pmf(k, total, 0.5)) <= own * (1 + 1e-9))
    assert mcnemar(lost, gained) == pytest.approx(wanted)
    assert mcnemar(lost, gained) == pytest.approx(mcnemar(gained, lost))


def test_the_four_kinds_of_images_are_counted() -> None:
    found = changed([True, True, True, False, False], [True, False, False, True, False])
    assert (found.both, found.lost, found.gained, found.neither) == (1, 2, 1, 1)
    assert found.difference == pytest.approx(-0.2)
    assert found.interval[0] <= found.difference <= found.interval[1]


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    generator = np.random.default_rng(1)
    held = 0
    for _ in range(100):
        first = generator.random(150) < 0.8
        second = np.where(generator.random(150) < 0.2, generator.random(150) < 0.6, first)
        low, high = changed(list(first), list(second)).interval
        held += low <= 0.2 * (0.6 - 0.8) <= high
    assert held >= 88


def test_a_numbers_interval_is_that_of_its_mean_difference() -> None:
    generator = np.random.default_rng(2)
    before = generator.normal(size=400)
    difference, (low, high) = shifted(list(before), list(before + generator.normal(0.5, 1, 400)))
    assert low < difference < high
    assert high - low == pytest.approx(2 * 1.96 / 20, rel=0.2)
    assert shifted([1.0, 2.0], [2.0, 3.0]) == (1.0, (1.0, 1.0))


def test_holm_is_the_step_down_of_bonferroni() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []
    assert holm([0.9, 0.8]) == [1.0, 1.0]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_no_test_gets_surer_by_being_one_of_several(values: list[float]) -> None:
    adjusted = holm(values)
    assert all(one <= other <= 1 for one, other in zip(values, adjusted, strict=True))
    order = np.argsort(values, kind="stable")
    assert (np.diff(np.array(adjusted)[order]) >= 0).all()
