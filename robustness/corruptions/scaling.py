"""Scaling: the object is further away."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from pydantic import Field

from xai.registry import Kind, Method
from xai.robustness.corruptions.base import MU_GILMER, Corruption, How, mnist_c
from xai.robustness.warps import BORDERS, Border, about_centre, warped


class Strength(NamedTuple):
    """Size of the result as a share of the picture's."""

    size: float


class Scaling(Corruption):
    """Scaling."""

    about = Method(
        name="scaling",
        title="Scaling",
        summary="Shrinks the picture about its centre, as if it were further away.",
        limits=(
            "Severities are those of MNIST-C: from 0.9 down to half the size; larger is not tried. What comes in from "
            "outside is made up, and a network may answer to that. Pixels are read where they fall, without smoothing, "
            "so fine patterns may alias."
        ),
        source=MU_GILMER,
        kind=Kind.STATISTICAL,
        default=False,
    )
    small = large = mnist_c(Strength(0.9), Strength(0.8), Strength(0.7), Strength(0.6), Strength(0.5))

    border: Border = Field(default="black", description=f"what stands outside of the picture: {BORDERS}")

    def corrupt(self, x: np.ndarray, how: How[Strength]) -> np.ndarray:
        """Shrink."""
        return resized(x, how.row.size, self.border)


def resized(x: np.ndarray, size: float, border: Border) -> np.ndarray:
    """Return x (channels, height, width) drawn at another size about its centre, on a canvas of the same size."""
    return warped(x, about_centre(x.shape, np.eye(2) / size), border)
