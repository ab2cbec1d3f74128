"""LIME."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from pydantic import Field

from xai.explainers.base import ROUNDING, Attribution, Attributor
from xai.masking.sampling import INTERVAL, RANKS, Balanced, Draw, Fair, Samples, rank_interval, sampled, unsure, widened
from xai.masking.superpixels import Covering, Segmentation, superpixels
from xai.models.fill import FILLS, check_fill
from xai.models.model import Model
from xai.models.targets import Target
from xai.registry import Kind, Method
from xai.reports.records import Scalar, Value
from xai.runtime import Runtime

TOP = 5
LEAST_SAMPLES = 10  # a segment: the authors' rule
LEAST_R2 = 0.5
PENALISED = 1000  # samples to which alpha applies as it is, as the authors' code takes that many


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


def effective_samples(weights: np.ndarray) -> float:
    """Return how many samples of equal weight would say as much."""
    return float(weights.sum() ** 2 / np.square(weights).sum())


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


def ranking_interval(samples: Samples, outputs: np.ndarray, weights: np.ndarray, alpha: float) -> float | None:
    """Return how uncertain the ranking of the coefficients of outputs (samples,) is, see `rank_interval`."""
    masks = samples.masks.numpy()
    fitted = fit(masks, outputs, weights, alpha)
    left = outputs - fitted.intercept - masks @ fitted.coefficients
    residuals = widened(left, effective_samples(weights), masks.shape[1] + 1)
    if residuals is None:
        return None
    centred = masks - weights @ masks / weights.sum()
    ridge = centred.T @ (centred * weights[:, None]) + alpha * np.eye(masks.shape[1])
    moved = np.linalg.solve(ridge, (centred * (weights * residuals)[:, None]).T)
    shifts = np.stack([moved[:, own].sum(1) for own in samples.groups])
    return rank_interval(lambda counts: fitted.coefficients + counts @ shifts, len(shifts))


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

    samples: int = Field(default=1000, ge=4, le=1_000_000, description="covered copies of the picture, at most")
    segmentation: Segmentation = Field(default="slic", description="how the picture is cut: slic, quickshift or grid")
    segments: int = Field(default=50, ge=2, le=10_000, description="segments wanted; quickshift finds its own number")
    fill: Covering = Field(default="segment", description=f"what covers: each one's mean; or {FILLS}")
    kernel_width: float = Field(default=0.25, gt=0, description="how fast samples far from the picture lose weight")
    alpha: float = Field(
        default=0.1, gt=0, description="ridge penalty, for every 1000 samples; the authors' code takes 1, which shrinks"
    )
    paired: bool = Field(
        default=True, description="balance samples, each with its opposite: a third to a half of them is enough"
    )
    interval: float | None = Field(default=None, gt=0, le=1, description=INTERVAL)
    batch: int | None = Field(default=None, ge=1, description="samples in one forward pass; default what memory allows")

    def check(self, model: Model) -> None:
        """Raise UsageError if the fill does not fit."""
        check_fill(self.fill, model.input, "lime.fill")

    def attribute(
        self, model: Model, x: torch.Tensor, targets: Sequence[Target], runtime: Runtime
    ) -> list[Attribution]:
        """Cover random sets of segments, once for all targets, and fit a surrogate for each."""
        parts = superpixels(model, x, self.segmentation, self.segments, self.fill, self.about.name)
        batch = self.batch or runtime.batch(model.bytes_per_input)
        seeds = torch.randint(2**31, (2,)).tolist()
        samples = sampled(
            [self._draw(seed, parts.count) for seed in seeds],
            lambda masks, tell: parts.outputs(model, masks, batch, tell),
            self.samples,
            (lambda so_far: self._is_sure(so_far, targets)) if self.interval else None,
            partial(runtime.progress, self.about.title),
        )
        chosen: dict[str, Scalar] = {
            "batch": batch,
            "fill value": parts.colour,
            "sampling seeds": ", ".join(map(str, seeds)),
            "segmentation": parts.how,
        }
        masks = samples.masks.numpy()
        kept = {"segment labels": parts.labels.astype(np.int32), "masks": masks}
        found = []
        for target in targets:
            own = target(samples.outputs).double().cpu().numpy()
            surrogate = self._fit(masks, own)
            found.append(
                Attribution(
                    torch.from_numpy(surrogate.coefficients[parts.labels]),
                    chosen=chosen,
                    values={
                        **self._values(surrogate, samples, own),
                        "segments without effect": Value(value=parts.inert),
                    },
                    notes=(*filter(None, [parts.note]), *self._notes(surrogate, samples, own)),
                    noise=ROUNDING * float(samples.outputs.abs().max()),
                    arrays={**kept, "outputs": own},
                )
            )
        return found

    def _notes(self, surrogate: Surrogate, samples: Samples, outputs: np.ndarray) -> tuple[str, ...]:
        """Return what a reader must know; whoever asks for an interval is told of that, and not of a rule of thumb."""
        said = _notes(surrogate)
        if self.interval is None:
            return (*_few(len(samples.masks) / samples.masks.shape[1]), *said)
        return (*unsure(self.about.name, self.interval, self._interval(samples, outputs), len(samples.masks)), *said)

    def _draw(self, seed: int, parts: int) -> Draw:
        generator = torch.Generator().manual_seed(seed)
        draws = (Balanced if self.paired else Fair)(parts, generator)

        def draw(count: int, first: bool) -> torch.Tensor:
            masks = draws(count)
            if first:
                masks[0] = True
            if first and self.paired:
                masks[1] = False
            return masks

        return draw

    def _fit(self, masks: np.ndarray, outputs: np.ndarray) -> Surrogate:
        return fit(masks, outputs, cosine_weights(masks, self.kernel_width), self._penalty(len(masks)))

    def _penalty(self, samples: int) -> float:
        """Return the ridge penalty: it grows with the samples, so that few do not shrink the coefficients."""
        return self.alpha * samples / PENALISED

    def _interval(self, samples: Samples, outputs: np.ndarray) -> float | None:
        weights = cosine_weights(samples.masks.numpy(), self.kernel_width)
        return ranking_interval(samples, outputs, weights, self._penalty(len(weights)))

    def _is_sure(self, samples: Samples, targets: Sequence[Target]) -> bool:
        """Say whether the ranking's interval is as narrow as asked, for every target."""
        widths = [self._interval(samples, target(samples.outputs).double().cpu().numpy()) for target in targets]
        return all(width is not None and width <= (self.interval or 0.0) for width in widths)

    def _values(self, surrogate: Surrogate, samples: Samples, outputs: np.ndarray) -> dict[str, Value]:
        """Return what says how far the surrogate can be trusted."""
        masks = samples.masks.numpy()
        count = masks.shape[1]
        overlap = None  # of the whole set it would be one, whatever the numbers
        weights = cosine_weights(masks, self.kernel_width)
        effective = effective_samples(weights)
        halves = [samples.sources == number for number in (0, 1)]
        if count > TOP and surrogate.r2 is not None and effective > count:
            fits = [self._fit(masks[part], outputs[part]) for part in halves]
            first, second = (set(np.argsort(-np.abs(fitted.coefficients))[:TOP].tolist()) for fitted in fits)
            overlap = len(first & second) / TOP
        return {
            "R2": Value(value=surrogate.r2, unit="share of the outputs' weighted variance explained", n=len(masks)),
            "local prediction": Value(value=surrogate.local_prediction, unit="of the linear model, for the picture"),
            "output": Value(value=float(outputs[0]), unit="of the model, for the picture"),
            "segments": Value(value=count),
            "samples a segment": Value(value=len(masks) / count),
            "effective samples": Value(value=effective, unit="that the kernel's weights leave"),
            "ranking's interval": Value(value=self._interval(samples, outputs), unit=RANKS, n=len(masks)),
            "overlap": Value(
                value=overlap, unit=f"of the {TOP} strongest segments over two seeds", n=int(halves[0].sum())
            ),
            "overlap by chance": Value(value=TOP / count if count > TOP else None),
        }


def _few(samples_a_segment: float) -> tuple[str, ...]:
    if samples_a_segment >= LEAST_SAMPLES:
        return ()
    return (
        f"{samples_a_segment:.1f} samples a segment; LIME's authors ask for at least {LEAST_SAMPLES}: "
        "raise lime.samples or lower lime.segments.",
    )


def _notes(surrogate: Surrogate) -> tuple[str, ...]:
    if surrogate.r2 is not None and surrogate.r2 >= LEAST_R2:
        return ()
    share = "nothing" if surrogate.r2 is None else f"{100 * max(surrogate.r2, 0):.0f} %"
    return (f"The linear model explains {share} of the outputs' variance: its coefficients say little.",)
