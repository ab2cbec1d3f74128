"""How far a map moved: the ends of the scale, ties, and a second, plainer computation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from xai.engine.drift import drift, kept

RAW = np.random.default_rng(0).normal(size=(12, 10)).astype(np.float32)
OTHER = np.random.default_rng(1).normal(size=(12, 10)).astype(np.float32)


def test_equal_maps_have_no_drift_and_reversed_ones_two() -> None:
    assert drift(RAW, RAW) == pytest.approx(0, abs=1e-12)
    assert drift(RAW, 3 * RAW + 1) == pytest.approx(0, abs=1e-12), "only the order counts"
    assert drift(RAW, -RAW) == pytest.approx(2)
    assert drift(RAW, OTHER) == pytest.approx(1, abs=0.3)


@pytest.mark.parametrize("floor", [-9.0, 0.0, 0.5])
def test_drift_is_one_less_spearmans_correlation_with_ties_too(floor: float) -> None:
    one, other = np.maximum(RAW, floor), np.maximum(RAW + OTHER, floor)
    assert drift(one, other) == pytest.approx(1 - spearmanr(one.ravel(), other.ravel()).statistic)


def test_a_map_of_one_value_has_no_order() -> None:
    assert drift(RAW, np.full_like(RAW, 0.25)) is None
    assert drift(np.zeros_like(RAW), RAW) is None


def test_the_highest_tenth_stays_or_goes() -> None:
    assert kept(RAW, RAW) == 1
    assert kept(RAW, -RAW) == 0
    order = np.argsort(-RAW.ravel())
    half = np.zeros(RAW.size)
    half[[*order[:6], *order[20:26]]] = 1  # six of the twelve highest, and six others
    assert kept(RAW, half.reshape(RAW.shape)) == pytest.approx(0.5)


def test_equal_places_that_go_beyond_the_tenth_count_for_nothing() -> None:
    flat = np.zeros((12, 10))
    assert kept(flat, flat) is None
    assert kept(RAW, flat) is None
    one, other = flat.copy(), flat.copy()
    one[0, 0] = other[5, 5] = 1
    assert kept(one, one) == 1
    assert kept(one, other) == 0
    other[0, 0] = 1
    assert kept(one, other) == 0.5
