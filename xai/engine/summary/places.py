"""Where a group of maps looks: one small place, if its mean is concentrated on one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import find_objects, label

LARGEST = 0.1  # of the picture that a small place may take
HELD = 0.2  # of the mean map that must lie in it
MARGIN = 0.125  # of the picture's side: what reaches into it lies at the border


@dataclass(frozen=True)
class Place:
    """A rectangle of the picture.

    Args:
        top: its first row.
        left: its first column.
        bottom: the row after its last one.
        right: the column after its last one.
    """

    top: int
    left: int
    bottom: int
    right: int

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.bottom - self.top, self.right - self.left

    def moved(self, top: int, left: int) -> Place:
        """Return a place of the same size elsewhere."""
        rows, columns = self.size
        return Place(top, left, top + rows, left + columns)

    def meets(self, other: Place) -> bool:
        """Say whether two places have a pixel in common."""
        down = self.top < other.bottom and other.top < self.bottom
        return down and self.left < other.right and other.left < self.right

    def overlap(self, other: Place) -> float:
        """Return what two places have in common, as a share of what they take together."""
        down = min(self.bottom, other.bottom) - max(self.top, other.top)
        across = min(self.right, other.right) - max(self.left, other.left)
        common = max(down, 0) * max(across, 0)
        sizes = [rows * columns for rows, columns in (self.size, other.size)]
        return common / (sum(sizes) - common)

    def of(self, picture: np.ndarray) -> np.ndarray:
        """Return what of an array (..., rows, columns) lies there."""
        part: np.ndarray = picture[..., self.top : self.bottom, self.left : self.right]
        return part

    def at_border(self, height: int, width: int) -> bool:
        """Say whether it reaches into the margin of a picture."""
        down, across = MARGIN * height, MARGIN * width
        return self.top < down or self.left < across or self.bottom > height - down or self.right > width - across

    def told(self) -> str:
        """Say where it is."""
        return f"rows {self.top} to {self.bottom - 1}, columns {self.left} to {self.right - 1}"


def place_of(mean: np.ndarray, height: int, width: int) -> Place | None:
    """Return the one small place that a mean map (rows, columns) is concentrated on, None if there is none.

    It is the rectangle around what is at least half as high as the highest place, and hangs together with it. It
    takes at most a tenth of the picture and holds at least a fifth of what speaks for the answer.

    Args:
        mean: of maps that sum to one.
        height: of the picture.
        width: of the picture.
    """
    if not mean.any():
        return None
    parts, _ = label(mean >= mean.max() / 2)
    rows, columns = find_objects((parts == parts.ravel()[mean.argmax()]).astype(int))[0]
    held = float(mean[rows, columns].sum() / mean.sum())
    small_rows, small_columns = mean.shape
    found = Place(
        rows.start * height // small_rows,
        columns.start * width // small_columns,
        -(-rows.stop * height // small_rows),
        -(-columns.stop * width // small_columns),
    )
    return found if held >= HELD and np.prod(found.size) <= LARGEST * height * width else None


def elsewhere(place: Place, height: int, width: int, rng: np.random.Generator) -> Place:
    """Return a small place's like that has nothing in common with it, drawn from all of its size alike."""
    rows, columns = place.size
    while True:
        found = place.moved(int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1)))
        if not place.meets(found):
            return found
