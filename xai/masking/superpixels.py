"""A picture cut into segments that are covered and shown: what LIME and KernelSHAP are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from skimage.segmentation import quickshift, slic

from xai.errors import NotApplicableError
from xai.masking.sampling import gathered
from xai.models.fill import NamedFill, fill_colour, numbers
from xai.models.model import Model

Segmentation = Literal["slic", "quickshift", "grid"]
Covering = Literal["segment"] | NamedFill | float
FALLBACK: Segmentation = "grid"
LEAST_PIXELS = 4  # a segment, on average: a single pixel is its own mean
COMPACTNESS = 10.0  # of slic, for distances in Lab
EIGHT_BITS = 1e-6  # far below a step of a picture of 8 bits
LAB = 100.0  # what white is in the units of Lab


@dataclass(frozen=True)
class Superpixels:
    """A picture, its segments, and what covers them.

    Args:
        x: (channels, height, width), the picture.
        labels: (height, width) each pixel's segment, numbered 0..count-1.
        covering: (channels, height, width) or (channels, 1, 1), what stands where a segment is covered.
        colour: the covering in words.
        how: the segmentation that was used.
        note: that it is not the wanted one, or "".
    """

    x: torch.Tensor
    labels: np.ndarray
    covering: torch.Tensor
    colour: str
    how: Segmentation
    note: str

    @property
    def count(self) -> int:
        """How many segments there are."""
        return int(self.labels.max()) + 1

    @property
    def inert(self) -> int:
        """How many segments look the same when they are covered."""
        changed = ((self.x - self.covering).abs() > EIGHT_BITS).any(dim=0).cpu().numpy()
        return self.count - len(np.unique(self.labels[changed]))

    def outputs(self, model: Model, masks: torch.Tensor, batch: int, tell: Callable[[int], None]) -> torch.Tensor:
        """Return the model's outputs (samples, classes) where masks (samples, segments) bool say what is shown.

        Args:
            model: the model.
            masks: on any device.
            batch: samples in one forward pass.
            tell: is told how many samples are done.
        """
        places = torch.from_numpy(self.labels).to(self.x.device)

        def answers() -> Iterator[torch.Tensor]:
            for done in range(0, len(masks), batch):
                tell(done)
                shown = masks[done : done + batch].to(self.x.device)[:, places][:, None]
                yield model.outputs(torch.where(shown, self.x, self.covering))

        return gathered(answers(), len(masks))


def superpixels(
    model: Model, x: torch.Tensor, how: Segmentation, wanted: int, fill: Covering, name: str
) -> Superpixels:
    """Return a picture's segments.

    Args:
        model: says the range of its pixels.
        x: (channels, height, width), the picture.
        how: the segmentation.
        wanted: number of segments.
        fill: what covers them: the mean of each, or one colour.
        name: of the method, for messages.

    Raises:
        NotApplicableError: there is one segment only, or covering changes nothing.
    """
    used, labels = _segmented(_scaled(x, model), how, min(wanted, max(2, x.shape[-2] * x.shape[-1] // LEAST_PIXELS)))
    covering, colour = _covering(model, x, labels, fill)
    note = "" if used == how else f"{how} finds one segment only in this picture; it was cut by a {used} instead."
    found = Superpixels(x, labels, covering, colour, used, note)
    if found.inert == found.count:
        raise NotApplicableError(
            f"every segment has one colour, so that covering it by {colour} changes nothing; "
            f"choose another {name}.fill, such as grey, or fewer {name}.segments"
        )
    return found


def segment(x: np.ndarray, how: Segmentation, number: int) -> np.ndarray:
    """Return each pixel's segment (height, width), numbered 0..n-1, of a picture (channels, height, width) in [0, 1].

    quickshift has lime's settings and finds its own number. Colours are compared in Lab where there are three
    channels; else the channels are, on Lab's scale.
    """
    picture = np.ascontiguousarray(x.transpose(1, 2, 0), dtype=np.float64)
    colour = picture.shape[2] == 3
    if how == "grid":
        labels = _grid(picture.shape[0], picture.shape[1], number)
    elif how == "slic":
        weight = COMPACTNESS if colour else COMPACTNESS / LAB
        labels = slic(
            picture, n_segments=number, compactness=weight, start_label=0, convert2lab=colour, channel_axis=-1
        )
    else:
        picture = np.repeat(picture, 3, axis=2) if picture.shape[2] == 1 else picture
        lab = picture.shape[2] == 3
        labels = quickshift(  # type: ignore[no-untyped-call]  # scikit-image has no annotations there
            picture if lab else LAB * picture, kernel_size=4, max_dist=200, ratio=0.2, convert2lab=lab, rng=42
        )
    return np.unique(labels, return_inverse=True)[1].reshape(picture.shape[:2])


def _segmented(picture: np.ndarray, wanted: Segmentation, number: int) -> tuple[Segmentation, np.ndarray]:
    """Return the labels (height, width), of a grid where the wanted segmentation finds no two segments."""
    for how in dict.fromkeys((wanted, FALLBACK)):
        labels = segment(picture, how, number)
        if labels.max() > 0:
            return how, labels
    raise NotApplicableError("the picture has one segment only, so there is nothing to compare")


def _covering(model: Model, x: torch.Tensor, labels: np.ndarray, fill: Covering) -> tuple[torch.Tensor, str]:
    """Return the picture (channels, height, width) whose segments cover, and its colour in words."""
    if fill != "segment":
        colour = fill_colour(fill, x, model.input)
        return colour, numbers(colour)
    flat, places = x.flatten(1).double(), torch.from_numpy(labels).to(x.device).flatten()
    sums = torch.zeros(x.shape[0], int(labels.max()) + 1, dtype=torch.float64, device=x.device)
    sums.index_add_(1, places, flat)
    means = sums / torch.bincount(places)
    return means[:, places].view(x.shape).to(x.dtype), "each segment's own mean"


def _scaled(x: torch.Tensor, model: Model) -> np.ndarray:
    """Return an input as a picture (channels, height, width) in [0, 1]."""
    low, high = model.input.span
    pixels: np.ndarray = ((x - low) / (high - low)).double().cpu().numpy()
    return pixels


def _grid(height: int, width: int, number: int) -> np.ndarray:
    """Return labels (height, width) of about that many rectangles, as square as they can be."""
    rows = min(height, number, max(1, round((number * height / width) ** 0.5)))
    columns = min(width, max(1, round(number / rows)))
    row, column = np.arange(height) * rows // height, np.arange(width) * columns // width
    labels: np.ndarray = row[:, None] * columns + column
    return labels
