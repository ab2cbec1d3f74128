"""Blurs of pictures: kernels, how they grow with a picture, and convolution."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from scipy.signal import fftconvolve


def convolved(x: np.ndarray, kernel: np.ndarray, border: Literal["edge", "reflect"]) -> np.ndarray:
    """Return x (channels, height, width) convolved with a kernel of odd sides.

    Args:
        x: the picture.
        kernel: (rows, columns); its middle is where a pixel's own value counts.
        border: what stands outside: the outermost pixels, or the picture mirrored about them.
    """
    rows, columns = (size // 2 for size in kernel.shape)
    padded = np.pad(x, ((0, 0), (rows, rows), (columns, columns)), mode=border)
    return np.asarray(fftconvolve(padded, kernel[None], mode="valid", axes=(1, 2)))


def scaled(kernel: np.ndarray, scale: float) -> np.ndarray:
    """Return the kernel for pictures that are so many times as large: its pixels grow, and its sum stays."""
    if scale == 1:
        return kernel
    rows, columns = (_shares(size, scale) for size in kernel.shape)
    return np.asarray(rows @ kernel @ columns.T)


def motion(radius: int, sigma: float, degrees: float) -> np.ndarray:
    """Return the kernel of a motion: half a Gaussian along a line that begins at the pixel, its sum 1.

    Args:
        radius: the line has 2 * radius + 1 pixels.
        sigma: of the Gaussian, in pixels.
        degrees: where the blurred pixels come from: 0 from the right, 90 from below.
    """
    steps = np.arange(2 * radius + 1)
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    angle = math.radians(degrees)
    rows, columns = (-np.ceil(steps * part - 0.5).astype(int) for part in (math.sin(angle), math.cos(angle)))
    kernel = np.zeros((4 * radius + 1, 4 * radius + 1))
    np.add.at(kernel, (2 * radius + rows, 2 * radius + columns), weights / weights.sum())
    return kernel


def _shares(size: int, scale: float) -> np.ndarray:
    """Return which share of each of so many scaled pixels lies in each new one, (new, size); both rows are centred."""
    new = 2 * max(0, math.ceil((size * scale - 1) / 2)) + 1
    old_edges = (np.arange(size + 1) - size / 2) * scale
    new_edges = (np.arange(new + 1) - new / 2)[:, None]
    overlap = np.minimum(old_edges[1:], new_edges[1:]) - np.maximum(old_edges[:-1], new_edges[:-1])
    return np.asarray(np.maximum(overlap, 0) / scale)
