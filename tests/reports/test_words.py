"""Numbers in words: what is proved is never overstated by how it is written."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xai.reports.words import at_least, at_most


@pytest.mark.parametrize(
    ("value", "below", "above"),
    [
        (0.0225183824, "0.02251", "0.02252"),
        (-5.486557, "-5.487", "-5.486"),
        (7.61361, "7.613", "7.614"),
        (0.5, "0.5", "0.5"),
    ],
)
def test_the_last_digit_is_rounded_to_the_safe_side(value: float, below: str, above: str) -> None:
    assert (at_least(value), at_most(value)) == (below, above)


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e300, max_value=1e300))
def test_what_is_written_lies_on_the_safe_side_and_near(value: float) -> None:
    below, above = float(at_least(value)), float(at_most(value))
    assert below <= value <= above or math.isclose(value, 0, abs_tol=1e-300)
    assert above - below <= 2e-3 * abs(value) + 1e-300
