"""Glass blur: frosted glass, which mixes neighbouring pixels up."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter

from xai.registry import Kind, Method
from xai.robustness.corruptions.base import HENDRYCKS_DIETTERICH, Corruption, How, cifar_c, imagenet_c


class Strength(NamedTuple):
    """Gaussian blur before and after, largest displacement, both in pixels, and how often pixels are mixed up."""

    sigma: float
    displacement: int
    rounds: int


class GlassBlur(Corruption):
    """Glass blur."""

    about = Method(
        name="glass_blur",
        title="Glass blur",
        summary="Blurs a little, lets each pixel take the value of a random near one, and blurs again: frosted glass.",
        limits=(
            "The published program means to swap two pixels and copies one of them, so values get lost; this does the "
            "same, and like it leaves the outermost rows and columns in place."
        ),
        source=HENDRYCKS_DIETTERICH,
        kind=Kind.STATISTICAL,
        default=True,
    )
    small = cifar_c(
        Strength(0.05, 1, 1), Strength(0.25, 1, 1), Strength(0.4, 1, 1), Strength(0.25, 1, 2), Strength(0.4, 1, 2)
    )
    large = imagenet_c(
        Strength(0.7, 1, 2), Strength(0.9, 2, 1), Strength(1, 2, 3), Strength(1.1, 3, 2), Strength(1.5, 4, 2)
    )

    def corrupt(self, x: np.ndarray, how: How[Strength]) -> np.ndarray:
        """Blur, mix up, blur."""
        sigma = (0, how.row.sigma * how.scale, how.row.sigma * how.scale)
        far = max(1, round(how.row.displacement * how.scale))
        x = gaussian_filter(x, sigma, mode="nearest")
        for _ in range(how.row.rounds):
            source = mixed(x.shape[1], x.shape[2], far, how.rng)
            x = x.reshape(len(x), -1)[:, source].reshape(x.shape)
        return np.asarray(gaussian_filter(x, sigma, mode="nearest"))


def mixed(height: int, width: int, far: int, rng: np.random.Generator) -> np.ndarray:
    """Return the flat index of the pixel that each one takes its value from, (height * width,).

    The published loop goes backwards over the pixels, and each takes the value that a random one within `far` has by
    then. So a pixel that takes from a later one, already done, gets what that one took: chains, which are followed
    here by doubling, in a few passes over all pixels at once.
    """
    places = np.arange(height * width).reshape(height, width)
    takes = places.copy()
    inner = (slice(far + 1, height - far + 1), slice(far + 1, width - far + 1))
    rows, columns = rng.integers(-far, far, (2, *places[inner].shape))
    takes[inner] += rows * width + columns
    source, own = takes.ravel(), places.ravel()
    follows = np.where(source > own, source, own)  # where a pixel's source is itself done before
    while not np.array_equal(follows, follows[follows]):
        follows = follows[follows]
    return np.asarray(np.where(source[follows] > follows, follows, source[follows]))
