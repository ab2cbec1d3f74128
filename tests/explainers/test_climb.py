"""What methods share that climb: octaves, steps and sizes are what they claim."""

from __future__ import annotations

import pytest
import torch

from xai.ascent.climb import ascended, octaves, resized


def test_octaves_grow_to_the_full_size_without_repeats() -> None:
    assert octaves((224, 224), 4, 1.4) == [(82, 82), (114, 114), (160, 160), (224, 224)]
    assert octaves((64, 32), 1, 1.4) == [(64, 32)]
    assert octaves((2, 2), 4, 1.4) == [(1, 1), (2, 2)]
    assert octaves((1, 1), 4, 2.0) == [(1, 1)]


def test_a_step_changes_a_pixel_by_its_size_on_average() -> None:
    gradient = torch.randn((3, 8, 8), generator=torch.Generator().manual_seed(0))
    moved = ascended(torch.zeros(3, 8, 8), gradient, 0.01)
    assert float(moved.abs().mean()) == pytest.approx(0.01)
    assert torch.equal(ascended(gradient, torch.zeros(3, 8, 8), 0.01), gradient)


def test_resizing_keeps_plain_pictures() -> None:
    assert torch.allclose(resized(torch.full((3, 20, 10), 0.3), (7, 31)), torch.tensor(0.3))
