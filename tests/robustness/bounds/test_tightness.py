"""Bounds are as narrow as the best known of their kind (facts measured with auto_LiRPA 0.7.1, same boxes)."""

from __future__ import annotations

import functools
import os

import pytest

from benchmarks.bounds import METHODS, SUBJECTS, widths

needs_data = pytest.mark.skipif("XAI_DATA" not in os.environ, reason="XAI_DATA is not set: the networks are there")
ALLOWED = {"ibp": 1.001, "crown": 1.01, "alpha-crown": 1.05}


known = functools.cache(widths)


@needs_data
@pytest.mark.parametrize("name", SUBJECTS)
def test_widths_are_no_larger_than_the_peers(name: str) -> None:
    found = known(name, "cpu")
    for method in METHODS:
        assert found[f"{method}, real"]["of the peer's"] <= ALLOWED[method], method


@needs_data
@pytest.mark.parametrize("name", SUBJECTS)
def test_covering_float32_costs_little(name: str) -> None:
    found = known(name, "cpu")
    for method in METHODS:
        assert 1 < found[f"{method}, float"]["width"] / found[f"{method}, real"]["width"] < 1.03, method
