"""Blurs against closed forms: sums, moments, and a plain convolution."""

from __future__ import annotations

import math

import numpy as np
import pytest

from xai.robustness.filters import convolved, motion, scaled


def spread(kernel: np.ndarray) -> tuple[float, float]:
    """Return a kernel's mean column, and its columns' variance; a pixel's own extent counts."""
    columns = np.arange(kernel.shape[1]) - kernel.shape[1] // 2
    weights = kernel.sum(axis=0)
    mean = float((weights * columns).sum())
    return mean, float((weights * (columns - mean) ** 2).sum()) + 1 / 12


@pytest.mark.parametrize("border", ["edge", "reflect"])
def test_convolution_equals_a_plain_loop(border: str) -> None:
    rng = np.random.default_rng(0)
    x, kernel = rng.random((2, 6, 7)), rng.random((3, 5))
    padded = np.pad(x, ((0, 0), (1, 1), (2, 2)), mode=border)
    expected = np.zeros_like(x)
    for row in range(6):
        for column in range(7):
            window = padded[:, row : row + 3, column : column + 5]
            expected[:, row, column] = (window * kernel[::-1, ::-1]).sum(axis=(1, 2))
    np.testing.assert_allclose(convolved(x, kernel, border), expected)  # type: ignore[arg-type]


@pytest.mark.parametrize("scale", [1.0, 0.3, 0.875, 2.0, 2.5, 4.0])
def test_a_scaled_kernel_keeps_its_sum_and_grows_in_proportion(scale: float) -> None:
    kernel = motion(6, 3, 30)
    grown = scaled(kernel, scale)
    assert grown.sum() == pytest.approx(1)
    assert (grown >= 0).all()
    assert all(size % 2 for size in grown.shape)
    mean, variance = spread(kernel)
    # The mean is of whole pixels' places; parts of pixels count as if they stood in the middle.
    assert spread(grown)[0] == pytest.approx(scale * mean, abs=0.05)
    if scale == 2:
        # Pixels of twice the side fall onto whole and half pixels: the new ones' own extent adds up to 1/4 of a pixel.
        assert spread(grown)[1] == pytest.approx(4 * variance, abs=0.26)


def test_a_single_pixel_stays_one_in_smaller_pictures() -> None:
    one = np.zeros((5, 5))
    one[2, 2] = 1
    assert scaled(one, 0.3).max() == pytest.approx(1)
    np.testing.assert_allclose(scaled(np.ones((1, 1)), 2), np.outer([0.25, 0.5, 0.25], [0.25, 0.5, 0.25]))


def test_motion_is_half_a_gaussian_along_the_line() -> None:
    weights = np.exp(-(np.arange(9) ** 2) / 8)
    weights /= weights.sum()
    level = motion(4, 2, 0)
    np.testing.assert_allclose(level[8, 8::-1], weights)
    assert level.sum() == pytest.approx(1)
    np.testing.assert_allclose(motion(4, 2, 90)[8::-1, 8], weights)
    steep = motion(20, 15, 30)
    rows, columns = np.nonzero(steep)
    slopes = [math.degrees(math.atan2(40 - row, 40 - column)) for row, column in zip(rows, columns, strict=True)]
    assert slopes[0] == pytest.approx(30, abs=1.5)
