"""Fog: clouds of uneven thickness before the scene."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from xai.registry import Kind, Method
from xai.robustness.corruptions.base import HENDRYCKS_DIETTERICH, Corruption, How, cifar_c, imagenet_c


class Strength(NamedTuple):
    """Thickness, and by how much clouds of half the size are weaker."""

    thickness: float
    decay: float


class Fog(Corruption):
    """Fog."""

    about = Method(
        name="fog",
        title="Fog",
        summary="Lays clouds of random shape over the scene and lowers its contrast.",
        limits=(
            "Drawn, not photographed: real fog hides what is far away, and this knows no distances. The clouds are cut "
            "out of a square whose side is the next power of two."
        ),
        source=HENDRYCKS_DIETTERICH,
        kind=Kind.STATISTICAL,
        default=True,
    )
    small = cifar_c(Strength(0.2, 3), Strength(0.5, 3), Strength(0.75, 2.5), Strength(1, 2), Strength(1.5, 1.75))
    large = imagenet_c(Strength(1.5, 2), Strength(2, 2), Strength(2.5, 1.7), Strength(2.5, 1.5), Strength(3, 1.4))

    def corrupt(self, x: np.ndarray, how: How[Strength]) -> np.ndarray:
        """Add clouds, and scale down to the brightest value there was."""
        height, width = x.shape[1:]
        clouds = plasma(1 << (max(height, width) - 1).bit_length(), how.row.decay, how.rng)[:height, :width]
        brightest = x.max()
        return np.asarray((x + how.row.thickness * clouds) * brightest / (brightest + how.row.thickness))


def plasma(side: int, decay: float, rng: np.random.Generator) -> np.ndarray:
    """Return clouds (side, side) from 0 to 1 by midpoint displacement on a torus (the diamond-square algorithm).

    Args:
        side: a power of two.
        decay: the displacement is divided by its square whenever the distance halves.
        rng: draws displacements, uniform.
    """
    clouds = np.zeros((side, side))
    step, reach = side, 1.0
    while step > 1:
        half = step // 2
        corners, centres = clouds[::step, ::step], clouds[half::step, half::step]
        moved = reach * rng.uniform(-1, 1, (3, *corners.shape))
        across = corners + np.roll(corners, -1, axis=1)
        down = corners + np.roll(corners, -1, axis=0)
        centres[:] = (across + np.roll(across, -1, axis=0)) / 4 + moved[0]
        clouds[::step, half::step] = (across + centres + np.roll(centres, 1, axis=0)) / 4 + moved[1]
        clouds[half::step, ::step] = (down + centres + np.roll(centres, 1, axis=1)) / 4 + moved[2]
        step, reach = half, reach / decay**2
    return np.asarray((clouds - clouds.min()) / np.ptp(clouds))
