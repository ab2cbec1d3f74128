"""Rotation: a camera held askew."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from pydantic import Field

from xai.registry import Kind, Method
from xai.robustness.corruptions.base import MU_GILMER, Corruption, How, mnist_c
from xai.robustness.warps import BORDERS, Border, about_centre, warped


class Strength(NamedTuple):
    """Angle in degrees."""

    degrees: float


class Rotation(Corruption):
    """Rotation."""

    about = Method(
        name="rotation",
        title="Rotation",
        summary="Turns the picture about its centre, to the left or to the right.",
        limits=(
            "Severities are those of MNIST-C, which made them for digits: from 11 to 57 degrees. What comes in from "
            "outside is made up, and a network may answer to that."
        ),
        source=MU_GILMER,
        kind=Kind.STATISTICAL,
        default=False,
    )
    small = large = mnist_c(
        Strength(math.degrees(0.2)),
        Strength(math.degrees(0.4)),
        Strength(math.degrees(0.6)),
        Strength(math.degrees(0.8)),
        Strength(math.degrees(1.0)),
    )

    border: Border = Field(default="black", description=f"what stands outside of the picture: {BORDERS}")

    def corrupt(self, x: np.ndarray, how: How[Strength]) -> np.ndarray:
        """Turn, either way."""
        return turned(x, how.row.degrees * how.rng.choice((-1, 1)), self.border)


def turned(x: np.ndarray, degrees: float, border: Border) -> np.ndarray:
    """Return x (channels, height, width) turned anticlockwise about its centre."""
    sine, cosine = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    return warped(x, about_centre(x.shape, np.array([[cosine, sine], [-sine, cosine]])), border)
