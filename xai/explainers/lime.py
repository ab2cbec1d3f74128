"""LIME."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from skimage.segmentation import quickshift, slic

from xai.errors import NotApplicableError
from xai.explainers.base import ROUNDING, Attribution, Attributor
from xai.models.fill import FILLS, Fill, check_fill, fill_colour, numbers
from xai.models.model import Model
from xai.models.targets import Target
from xai.registry import Kind, Method
from xai.reports.records import Scalar, Value
from xai.runtime import Runtime

Segmentation = Literal["slic", "quickshift", "grid"]
TOP = 5
LEAST_SAMPLES = 10  # a segment: the authors' rule
LEAST_R2 = 0.5
FALLBACK: Segmentation = "grid"
LEAST_PIXELS = 4  # a segment, on average: a single pixel is its own mean
COMPACTNESS = 10.0  # of slic, for distances in Lab
EIGHT_BITS = 1e-6  # far below a step of a picture of 8 bits
LAB = 100.0  # what white is in the units of Lab


@dataclass(frozen=True)
class Surrogate:
    """A weighted linear model of an output in the segments that are present.

    Args:
        coefficients: (segments,) by how much the output grows when a segment is there.
        intercept: its answer when all segments are covered.
        r2: the share of the outputs' weighted variance that it explains; None if they have none.
    """

    coefficients: np.ndarray
    intercept: float
    r2: float | None

    @property
    def local_prediction(self) -> float:
        """Its answer for the whole picture."""
        return self.intercept + float(self.coefficients.sum())


def cosine_weights(masks: np.ndarray, kernel_width: float) -> np.ndarray:
    """Return how near each sample (samples, segments) is to the whole picture: sqrt(exp(-d^2 / width^2)), d cosine."""
    present = masks.sum(axis=1)
    distance = np.where(present > 0, 1 - np.sqrt(present / masks.shape[1]), 1.0)
    weights: np.ndarray = np.sqrt(np.exp(-(distance**2) / kernel_width**2))
    return weights


def fit(masks: np.ndarray, outputs: np.ndarray, weights: np.ndarray, alpha: float) -> Surrogate:
    """Return the weighted ridge regression, its intercept not shrunk, of outputs (samples,) on masks."""
    share = weights / weights.sum()
    x, y = masks.astype(np.float64), outputs.astype(np.float64)
    mean_x, mean_y = share @ x, share @ y
    centred = (x - mean_x) * np.sqrt(weights)[:, None]
    drops = (y - mean_y) * np.sqrt(weights)
    coefficients = np.linalg.solve(centred.T @ centred + alpha * np.eye(x.shape[1]), centred.T @ drops)
    variance = float(drops @ drops)
    residual = float(np.square(drops - centred @ coefficients).sum())
    r2 = 1 - residual / variance if variance > 0 else None
    return Surrogate(coefficients, float(mean_y - mean_x @ coefficients), r2)


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


class Lime(Attributor):
    """Local interpretable model-agnostic explanations (Ribeiro et al. 2016)."""

    about = Method(
        name="lime",
        title="LIME",
        summary=(
            "Covers random sets of segments and fits a linear model to the outputs: each segment shows by how much its "
            "presence raises the target's output."
        ),
        limits=(
            "It is as good as the linear model, whose R2 says how much of the outputs it explains, and as the "
            "segments, which follow colours and not objects. Other samples give other numbers: see the overlap."
        ),
        source='Ribeiro et al. 2016, "Why Should I Trust You?": Explaining the Predictions of Any Classifier',
        kind=Kind.HEURISTIC,
    )
    signed = True
    unit = "change of the target's output when the segment is there"

    samples: int = Field(default=1000, ge=4, le=1_000_000, description="covered copies of the picture")
    segmentation: Segmentation = Field(default="slic", description="how the picture is cut: slic, quickshift or grid")
    segments: int = Field(default=50, ge=2, le=10_000, description="segments wanted; quickshift finds its own number")
    fill: Literal["segment"] | Fill = Field(default="segment", description=f"what covers: each one's mean; or {FILLS}")
    kernel_width: float = Field(default=0.25, gt=0, description="how fast samples far from the picture lose weight")
    alpha: float = Field(default=1.0, gt=0, description="strength of the ridge penalty")
    batch: int | None = Field(default=None, ge=1, description="samples in one forward pass; default what memory allows")

    def check(self, model: Model) -> None:
        """Raise UsageError if the fill does not fit."""
        check_fill(self.fill, model.input, "lime.fill")

    def attribute(
        self, model: Model, x: torch.Tensor, targets: Sequence[Target], runtime: Runtime
    ) -> list[Attribution]:
        """Cover random sets of segments, once for all targets, and fit a surrogate for each."""
        wanted = min(self.segments, max(2, x.shape[-2] * x.shape[-1] // LEAST_PIXELS))
        how, labels = self._segments(_scaled(x, model), wanted)
        count = int(labels.max()) + 1
        masks, seeds = _sample(self.samples, count)
        covering, colour = self._covering(model, x, labels)
        inert = _inert(x, covering, labels)
        if inert == count:
            raise NotApplicableError(
                f"every segment has one colour, so that covering it by {colour} changes nothing; "
                "choose another lime.fill, such as grey, or fewer lime.segments"
            )
        batch = self.batch or runtime.batch(model.bytes_per_input)
        scores = self._scores(model, x, covering, labels, masks.split(batch), runtime)
        chosen: dict[str, Scalar] = {"batch": batch, "fill value": colour, "sampling seeds": seeds, "segmentation": how}
        noise = ROUNDING * float(scores.abs().max())
        kept = {"segment labels": labels.astype(np.int32), "masks": masks.numpy()}
        found = []
        for target in targets:
            own = target(scores).double().cpu().numpy()
            surrogate = self._fit(masks.numpy(), own)
            found.append(
                Attribution(
                    torch.from_numpy(surrogate.coefficients[labels]),
                    chosen=chosen,
                    values={
                        **self._values(surrogate, masks.numpy(), own),
                        "segments without effect": Value(value=inert),
                    },
                    notes=(*self._fallback(how), *_notes(surrogate, self.samples / count)),
                    noise=noise,
                    arrays={**kept, "outputs": own},
                )
            )
        return found

    def _scores(
        self,
        model: Model,
        x: torch.Tensor,
        covering: torch.Tensor,
        labels: np.ndarray,
        batches: Sequence[torch.Tensor],
        runtime: Runtime,
    ) -> torch.Tensor:
        """Return the outputs (samples, classes) for the picture with some segments covered."""
        places = torch.from_numpy(labels).to(x.device)
        outputs = []
        for number, masks in enumerate(batches):
            runtime.progress(self.about.title, number, len(batches))
            outputs.append(model.outputs(torch.where(masks.to(x.device)[:, places][:, None], x, covering)))
        runtime.progress(self.about.title, len(batches), len(batches))
        return torch.cat(outputs)

    def _segments(self, picture: np.ndarray, wanted: int) -> tuple[Segmentation, np.ndarray]:
        """Return the labels (height, width), of a grid where the wanted segmentation finds no two segments."""
        for how in dict.fromkeys((self.segmentation, FALLBACK)):
            labels = segment(picture, how, wanted)
            if labels.max() > 0:
                return how, labels
        raise NotApplicableError("the picture has one segment only, so there is nothing to compare")

    def _fallback(self, how: Segmentation) -> tuple[str, ...]:
        if how == self.segmentation:
            return ()
        return (f"{self.segmentation} finds one segment only in this picture; it was cut by a {how} instead.",)

    def _fit(self, masks: np.ndarray, outputs: np.ndarray) -> Surrogate:
        return fit(masks, outputs, cosine_weights(masks, self.kernel_width), self.alpha)

    def _covering(self, model: Model, x: torch.Tensor, labels: np.ndarray) -> tuple[torch.Tensor, str]:
        """Return the picture (channels, height, width) whose segments cover, and its colour in words."""
        if self.fill != "segment":
            colour = fill_colour(self.fill, x, model.input)
            return colour, numbers(colour)
        flat, places = x.flatten(1).double(), torch.from_numpy(labels).to(x.device).flatten()
        sums = torch.zeros(x.shape[0], int(labels.max()) + 1, dtype=torch.float64, device=x.device)
        sums.index_add_(1, places, flat)
        means = sums / torch.bincount(places)
        return means[:, places].view(x.shape).to(x.dtype), "each segment's own mean"

    def _values(self, surrogate: Surrogate, masks: np.ndarray, outputs: np.ndarray) -> dict[str, Value]:
        """Return what says how far the surrogate can be trusted."""
        count = masks.shape[1]
        half = len(masks) // 2
        overlap = None  # of the whole set it would be one, whatever the numbers
        weights = cosine_weights(masks, self.kernel_width)
        effective = float(weights.sum() ** 2 / np.square(weights).sum())
        if count > TOP and surrogate.r2 is not None and effective > count:
            fits = [self._fit(masks[part], outputs[part]) for part in (slice(half), slice(half, None))]
            first, second = (set(np.argsort(-np.abs(fitted.coefficients))[:TOP].tolist()) for fitted in fits)
            overlap = len(first & second) / TOP
        return {
            "R2": Value(value=surrogate.r2, unit="share of the outputs' weighted variance explained", n=len(masks)),
            "local prediction": Value(value=surrogate.local_prediction, unit="of the linear model, for the picture"),
            "output": Value(value=float(outputs[0]), unit="of the model, for the picture"),
            "segments": Value(value=count),
            "samples a segment": Value(value=len(masks) / count),
            "effective samples": Value(value=effective, unit="that the kernel's weights leave"),
            "overlap": Value(value=overlap, unit=f"of the {TOP} strongest segments over two seeds", n=half),
            "overlap by chance": Value(value=TOP / count if count > TOP else None),
        }


def _scaled(x: torch.Tensor, model: Model) -> np.ndarray:
    """Return an input as a picture (channels, height, width) in [0, 1]."""
    low, high = model.input.span
    pixels: np.ndarray = ((x - low) / (high - low)).double().cpu().numpy()
    return pixels


def _inert(x: torch.Tensor, covering: torch.Tensor, labels: np.ndarray) -> int:
    """Return how many segments look the same when they are covered."""
    changed = ((x - covering).abs() > EIGHT_BITS).any(dim=0).cpu().numpy()
    return int(labels.max()) + 1 - len(np.unique(labels[changed]))


def _sample(samples: int, segments: int) -> tuple[torch.Tensor, str]:
    """Return which segments each sample shows, (samples, segments) bool, and the seeds: one a half.

    The first shows all, so that the model's output for the picture itself is among the scores.
    """
    seeds = torch.randint(2**31, (2,)).tolist()
    half = samples // 2
    drawn = [
        torch.randint(2, (number, segments), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
        for seed, number in zip(seeds, (half, samples - half), strict=True)
    ]
    masks = torch.cat(drawn).bool()
    masks[0] = True
    return masks, ", ".join(map(str, seeds))


def _grid(height: int, width: int, number: int) -> np.ndarray:
    """Return labels (height, width) of about that many rectangles, as square as they can be."""
    rows = min(height, number, max(1, round((number * height / width) ** 0.5)))
    columns = min(width, max(1, round(number / rows)))
    row, column = np.arange(height) * rows // height, np.arange(width) * columns // width
    labels: np.ndarray = row[:, None] * columns + column
    return labels


def _notes(surrogate: Surrogate, samples_a_segment: float) -> tuple[str, ...]:
    notes = []
    if samples_a_segment < LEAST_SAMPLES:
        notes.append(
            f"{samples_a_segment:.1f} samples a segment; LIME's authors ask for at least {LEAST_SAMPLES}: "
            "raise lime.samples or lower lime.segments."
        )
    if surrogate.r2 is None or surrogate.r2 < LEAST_R2:
        share = "nothing" if surrogate.r2 is None else f"{100 * max(surrogate.r2, 0):.0f} %"
        notes.append(f"The linear model explains {share} of the outputs' variance: its coefficients say little.")
    return tuple(notes)
