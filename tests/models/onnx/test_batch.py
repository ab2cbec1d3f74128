"""Shapes that were written for one batch size, for others."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from xai.models.onnx.batch import freed_gather, freed_shape

SHAPES = [
    # sizes as written for, sizes as they come, the reshape as written, as it should be, the batch written for
    ([1, 3, 8, 8], [5, 3, 8, 8], [1, 192], [5, 192], 1),
    ([1, 3, 8, 8], [5, 3, 8, 8], [1, -1], [5, 192], 1),
    ([1, 12, 197, 64], [5, 12, 197, 64], [12, 197, 64], [60, 197, 64], 1),
    ([12, 197, 64], [60, 197, 64], [1, 12, 197, 64], [5, 12, 197, 64], 1),
    ([197, 1, 768], [197, 5, 768], [197, 12, 64], [197, 60, 64], 1),
    ([197, 1, 768], [197, 5, 768], [197, 768], [985, 768], 1),
    ([197, 768], [985, 768], [197, 1, 768], [197, 5, 768], 1),
    ([1, 8, 7, 8, 7, 96], [5, 8, 7, 8, 7, 96], [64, 49, 96], None, 1),
    ([1, 8, 8, 7, 7, 96], [5, 8, 8, 7, 7, 96], [64, 49, 96], [320, 49, 96], 1),
    ([64, 49, 96], [320, 49, 96], [1, 8, 8, 7, 7, 96], [5, 8, 8, 7, 7, 96], 1),
    ([2, 3, 8, 8], [5, 3, 8, 8], [2, 192], [5, 192], 2),
    ([24, 197, 64], [60, 197, 64], [2, 12, 197, 64], [5, 12, 197, 64], 2),
    ([1, 768, 1, 1], [5, 768, 1, 1], [1, 768], [5, 768], 1),
]


@pytest.mark.parametrize(("before", "now", "wanted", "expected", "batch"), SHAPES)
def test_the_batch_goes_where_it_belongs(
    before: list[int], now: list[int], wanted: list[int], expected: list[int] | None, batch: int
) -> None:
    found = freed_shape(before, now, wanted, batch)
    if expected is None:  # axes that do not line up: nothing is promised but the count of numbers
        assert np.prod(found) == np.prod(now)
    else:
        assert found == expected


def test_places_in_one_input_are_taken_in_each() -> None:
    x = torch.arange(12.0)
    found = freed_gather(x, np.array([[[2], [0]]]), [4])
    assert found.tolist() == [[[2.0], [0.0]], [[6.0], [4.0]], [[10.0], [8.0]]]
