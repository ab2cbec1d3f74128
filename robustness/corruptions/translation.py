"""Translation: the object stands elsewhere."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from pydantic import Field

from xai.registry import Kind, Method
from xai.robustness.corruptions.base import MU_GILMER, Corruption, How, mnist_c
from xai.robustness.warps import BORDERS, Border, warped


class Strength(NamedTuple):
    """How far along either axis, in pixels of a picture of 28."""

    pixels: int


class Translation(Corruption):
    """Translation."""

    about = Method(
        name="translation",
        title="Translation",
        summary="Moves the picture along both axes, either way, by whole pixels.",
        limits=(
            "Severities are those of MNIST-C: from 1 to 5 pixels of 28. What comes in from outside is made up, and a "
            "network may answer to that."
        ),
        source=MU_GILMER,
        kind=Kind.STATISTICAL,
        default=False,
    )
    small = large = mnist_c(Strength(1), Strength(2), Strength(3), Strength(4), Strength(5))

    border: Border = Field(default="black", description=f"what stands outside of the picture: {BORDERS}")

    def corrupt(self, x: np.ndarray, how: How[Strength]) -> np.ndarray:
        """Move by as many pixels down or up as right or left."""
        far = max(1, round(how.row.pixels * how.scale))
        down, right = far * how.rng.choice((-1, 1), 2)
        return moved(x, down, right, self.border)


def moved(x: np.ndarray, down: float, right: float, border: Border) -> np.ndarray:
    """Return x (channels, height, width) moved by so many pixels."""
    return warped(x, np.indices(x.shape[1:]) - np.array([down, right])[:, None, None], border)
