"""Reading between pixels against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import zoom

from xai.robustness.warps import about_centre, kept, magnified, resampled, warped


def test_a_plane_is_read_exactly_between_pixels() -> None:
    rows, columns = np.indices((7, 9)).astype(float)
    x = (3 * rows - 2 * columns)[None]
    down, right = np.array([0, 0.25, 5.5, 6]), np.array([0.5, 8])
    np.testing.assert_allclose(resampled(x, down, right)[0], 3 * down[:, None] - 2 * right)
    places = np.stack([rows, columns]) * 0.7 + 0.4
    np.testing.assert_allclose(warped(x, places, "edge")[0], 3 * places[0] - 2 * places[1])
    assert resampled(np.ones((1, 1, 1)), np.zeros(4), np.zeros(3)).shape == (1, 4, 3)


@pytest.mark.parametrize("factor", [1.0, 1.01, 1.1, 1.28, 2.25, 4.5])
@pytest.mark.parametrize("size", [8, 31, 32, 224])
def test_magnifying_equals_scipys_zoom_of_the_part_trimmed_to_the_middle(size: int, factor: float) -> None:
    part = np.random.default_rng(0).random((kept(size, factor), kept(size, factor)))
    whole = zoom(part, factor, order=1)
    first = (len(whole) - size) // 2
    places = magnified(size, factor)
    expected = whole[first : first + size, first : first + size]
    np.testing.assert_allclose(resampled(part, places, places), expected, atol=1e-12)


@pytest.mark.parametrize(("border", "outside"), [("black", 0.0), ("edge", 3.0), ("reflect", 4.0)])
def test_what_stands_outside_is_chosen(border: str, outside: float) -> None:
    x = np.array([[[3.0, 4, 5]]])
    places = np.array([[[0.0]], [[-2.0]]])
    assert warped(x, places, border)[0, 0, 0] == outside  # type: ignore[arg-type]


def test_a_linear_map_keeps_the_centre() -> None:
    places = about_centre((3, 5, 9), np.array([[0.3, 2], [-1, 0.5]]))
    np.testing.assert_allclose(places[:, 2, 4], (2, 4))
    np.testing.assert_allclose(places[:, 3, 4] - places[:, 2, 4], (0.3, -1))
