"""Frost: ice crystals on the lens."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter

from xai.registry import Kind, Method
from xai.robustness.corruptions.base import HENDRYCKS_DIETTERICH, Corruption, How, cifar_c, imagenet_c

COLOUR = (0.57, 0.65, 0.70)  # mean red, green and blue of the published program's photographs
CONTRAST = 0.11  # standard deviation of their brightness
TONES = 0.2  # by how much one picture's ice may be lighter or darker than that
ARM = math.pi / 3  # angle between the arms of a crystal of ice


class Strength(NamedTuple):
    """Shares of scene and ice, which may add up to more than 1; size of the crystals in pixels."""

    scene: float
    ice: float
    size: float


class Frost(Corruption):
    """Frost."""

    about = Method(
        name="frost",
        title="Frost",
        summary="Lays a bluish layer of ice crystals over a darkened scene.",
        limits=(
            "The published data set uses photographs of frost, which are not free to be passed on; this draws crystals "
            "of six feathered arms, with about the photographs' mean colour and contrast. Errors need not equal the "
            "published ones."
        ),
        source=HENDRYCKS_DIETTERICH,
        kind=Kind.STATISTICAL,
        default=True,
    )
    small = cifar_c(
        Strength(1, 0.2, 11), Strength(1, 0.3, 11), Strength(0.9, 0.4, 11), Strength(0.85, 0.4, 11),
        Strength(0.75, 0.45, 11),
    )  # fmt: skip
    large = imagenet_c(
        Strength(1, 0.4, 56), Strength(0.8, 0.6, 56), Strength(0.7, 0.7, 56), Strength(0.65, 0.7, 56),
        Strength(0.6, 0.75, 56),
    )  # fmt: skip

    def corrupt(self, x: np.ndarray, how: How[Strength]) -> np.ndarray:
        """Add ice to the darkened scene; where channels are not three, all get its mean colour."""
        relief = crystals(x.shape[1], x.shape[2], how.row.size * how.scale, how.rng)
        tone = np.array(COLOUR if len(x) == 3 else [np.mean(COLOUR)])[:, None, None]
        layer = tone + how.rng.uniform(-TONES, TONES) + CONTRAST * relief
        return how.row.scene * x + how.row.ice * np.clip(layer, 0, 1)


def crystals(height: int, width: int, size: float, rng: np.random.Generator) -> np.ndarray:
    """Return the relief of grown-together crystals (height, width), its mean 0 and its standard deviation 1.

    Each pixel belongs to the seed that reaches it first. Six arms grow from a seed, and barbs from the arms at the same
    angle; growth bends, and is stronger here than there.

    Args:
        height: of the picture.
        width: of the picture.
        size: mean distance of the seeds, in pixels.
        rng: where seeds and bends come from.
    """
    shape = (height, width)
    number = max(3, round(height * width / size**2))
    seeds = rng.uniform(-0.1, 1.1, (number, 2)) * shape
    bends = np.stack([_cloudy(shape, size / 6, rng) for _ in shape])
    away = (np.indices(shape) + size / 14 * bends)[:, None] - seeds.T[:, :, None, None]
    first = (np.hypot(*away) * rng.uniform(0.7, 1.3, number)[:, None, None]).argmin(axis=0)
    rows, columns = np.take_along_axis(away, first[None, None], axis=1)[:, 0]
    angle = np.arctan2(rows, columns) - rng.uniform(0, ARM, number)[first]
    angle -= ARM * np.round(angle / ARM)
    along, across = np.hypot(rows, columns) * np.stack([np.cos(angle), np.abs(np.sin(angle))])
    waves = 2 * math.pi * 9 / size * (along - across / math.tan(ARM)) + 0.8 * _cloudy(shape, size / 10, rng)
    barbs = ((1 + np.cos(waves)) / 2) ** 2 * (0.6 + 0.4 * _cloudy(shape, size / 12, rng))
    arms = np.exp(-((across / (size / 40 + 0.3)) ** 2))
    grain = 0.6 * _cloudy(shape, size, rng) + 0.25 * _cloudy(shape, max(0.5, size / 80), rng)
    relief = barbs + 1.2 * arms + 0.2 * rng.standard_normal(number)[first] + grain
    return np.asarray((relief - relief.mean()) / relief.std())


def _cloudy(shape: tuple[int, int], size: float, rng: np.random.Generator) -> np.ndarray:
    """Return smooth noise of that shape, its standard deviation 1."""
    noise = gaussian_filter(rng.standard_normal(shape), size, mode="wrap")
    return np.asarray(noise / noise.std())
