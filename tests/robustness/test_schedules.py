"""Schedules: their ends, their middle, and a step of its own for every row."""

from __future__ import annotations

import torch

from xai.robustness.schedules import cosine


def test_a_cosine_goes_from_the_first_to_the_last() -> None:
    values = cosine(torch.tensor([0, 5, 10]), 10, 1.0, 0.2)
    assert torch.allclose(values, torch.tensor([1.0, 0.6, 0.2], dtype=torch.float64))
