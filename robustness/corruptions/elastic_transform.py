"""Elastic transform: the picture on rubber that is stretched and crumpled."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter

from xai.registry import Kind, Method
from xai.robustness.corruptions.base import HENDRYCKS_DIETTERICH, Corruption, How, cifar_c, imagenet_c
from xai.robustness.warps import warped


class Strength(NamedTuple):
    """Displacement before smoothing, the smoothing's standard deviation, and how far corners move, in pixels."""

    displacement: float
    sigma: float
    corners: float


class ElasticTransform(Corruption):
    """Elastic transform."""

    about = Method(
        name="elastic_transform",
        title="Elastic transform",
        summary="Shifts, stretches and shears the picture at random, and crumples it.",
        limits=(
            "Severities differ in kind more than in strength: the first two mostly move all of the picture, the others "
            "crumple it in place, so they need not grow worse pixel by pixel. Both distortions are read in one step, "
            "where the published program reads twice and blurs a little more."
        ),
        source=HENDRYCKS_DIETTERICH,
        kind=Kind.STATISTICAL,
        default=True,
    )
    small = cifar_c(
        Strength(0, 0, 2.56),
        Strength(1.6, 6.4, 2.24),
        Strength(2.56, 1.92, 1.92),
        Strength(3.2, 1.28, 1.6),
        Strength(3.2, 0.96, 0.96),
    )
    large = imagenet_c(
        Strength(488, 170.8, 24.4),
        Strength(488, 19.52, 48.8),
        Strength(12.2, 2.44, 4.88),
        Strength(17.08, 2.44, 4.88),
        Strength(29.28, 2.44, 4.88),
    )

    def corrupt(self, x: np.ndarray, how: How[Strength]) -> np.ndarray:
        """Read each pixel where the crumpling and then the stretching say."""
        height, width = x.shape[1:]
        row = how.row
        noise = how.rng.uniform(-1, 1, (2, height, width))
        smooth = gaussian_filter(noise, (0, row.sigma * how.scale, row.sigma * how.scale), mode="reflect", truncate=3)
        linear, offset = stretching(height, width, row.corners * how.scale, how.rng)
        crumpled = np.indices((height, width)) + row.displacement * how.scale * smooth
        places = np.tensordot(linear, crumpled, axes=1) + offset[:, None, None]
        return warped(x, places, "reflect")


def stretching(height: int, width: int, far: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the affine map (2, 2) and (2,), from result to source, that moves three points by up to `far` pixels.

    The points stand a third of the shorter side from the centre.
    """
    side = min(height, width) // 3
    corners = np.array([(side, side), (side, -side), (-side, -side)], dtype=float)
    points = np.array([height // 2, width // 2]) + corners
    moved = np.column_stack([points + rng.uniform(-far, far, points.shape), np.ones(3)])
    found = np.linalg.lstsq(moved, points, rcond=None)[0]
    return found[:2].T, found[2]
