"""KernelSHAP over superpixels."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import product

import numpy as np
import torch
from pydantic import Field

from xai.explainers.base import ROUNDING, Attribution, Attributor
from xai.masking.sampling import INTERVAL, RANKS, Samples, rank_interval, sampled, unsure, with_opposites
from xai.masking.superpixels import Covering, Segmentation, Superpixels, superpixels
from xai.models.fill import FILLS, check_fill
from xai.models.model import Model
from xai.models.targets import Target
from xai.registry import Kind, Method
from xai.reports.records import Scalar, Value
from xai.runtime import Runtime


def kernel(sizes: np.ndarray, parts: int) -> np.ndarray:
    """Return the Shapley kernel of coalitions of some sizes, 1 to parts - 1, over all coalitions of their size."""
    weights: np.ndarray = (parts - 1) / (sizes * (parts - sizes))
    return weights


def solved(products: np.ndarray, drops: np.ndarray, total: float) -> np.ndarray:
    """Return the least squares (parts,) that add up to a total.

    Args:
        products: (parts, parts) of the masks with one another.
        drops: (parts,) of the masks with the outputs, those of nothing shown subtracted.
        total: the output of the whole picture less that of nothing.
    """
    inverse = np.linalg.pinv(products, hermitian=True)
    free, ones = inverse @ drops, inverse.sum(axis=1)
    values: np.ndarray = free - ones * (free.sum() - total) / ones.sum()
    return values


class KernelSHAP(Attributor):
    """Shapley values of superpixels (Lundberg & Lee 2017)."""

    about = Method(
        name="kernelshap",
        title="KernelSHAP",
        summary=(
            "Each segment's share (its Shapley value) in the difference between the target's output for the picture "
            "and for the covered picture: what it adds on average, whatever else is shown."
        ),
        limits=(
            "Shares are of this cover and these segments. They are estimated from samples unless there are few "
            "segments, and half covered pictures are unlike any the model was trained on."
        ),
        source="Lundberg & Lee 2017, A unified approach to interpreting model predictions; pairs: Covert & Lee 2021",
        kind=Kind.STATISTICAL,
    )
    signed = True
    unit = "share of the target's output, by segment"

    samples: int = Field(default=1000, ge=4, le=1_000_000, description="covered copies of the picture, at most")
    segmentation: Segmentation = Field(default="slic", description="how the picture is cut: slic, quickshift or grid")
    segments: int = Field(default=50, ge=2, le=10_000, description="segments wanted; quickshift finds its own number")
    fill: Covering = Field(default="segment", description=f"what covers: each one's mean; or {FILLS}")
    interval: float | None = Field(default=None, gt=0, le=1, description=INTERVAL)
    batch: int | None = Field(default=None, ge=1, description="samples in one forward pass; default what memory allows")

    def check(self, model: Model) -> None:
        """Raise UsageError if the fill does not fit."""
        check_fill(self.fill, model.input, "kernelshap.fill")

    def attribute(
        self, model: Model, x: torch.Tensor, targets: Sequence[Target], runtime: Runtime
    ) -> list[Attribution]:
        """Show random coalitions of segments, once for all targets, and solve for the shares of each."""
        parts = superpixels(model, x, self.segmentation, self.segments, self.fill, self.about.name)
        batch = self.batch or runtime.batch(model.bytes_per_input)
        ends = parts.outputs(model, torch.tensor([[False], [True]]).expand(2, parts.count), 2, lambda _: None)
        exact = 2**parts.count - 2 <= self.samples
        samples = self._samples(model, parts, batch, exact, ends, targets, runtime)
        chosen: dict[str, Scalar] = {"batch": batch, "fill value": parts.colour, "segmentation": parts.how}
        kept = {"segment labels": parts.labels.astype(np.int32), "masks": samples.masks.numpy()}
        found = []
        for target in targets:
            shares = _Shares(samples, _numbers(target, samples.outputs), _numbers(target, ends), exact=exact)
            found.append(
                Attribution(
                    torch.from_numpy(shares.values()[parts.labels]),
                    chosen=chosen,
                    values=self._values(parts, shares, len(samples.masks)),
                    notes=(*filter(None, [parts.note]), *self._unsure(shares, len(samples.masks))),
                    noise=ROUNDING * float(samples.outputs.abs().max()),
                    arrays={**kept, "outputs": shares.outputs},
                )
            )
        return found

    def _samples(
        self,
        model: Model,
        parts: Superpixels,
        batch: int,
        exact: bool,  # the rest are names of things
        ends: torch.Tensor,
        targets: Sequence[Target],
        runtime: Runtime,
    ) -> Samples:
        generator = torch.Generator().manual_seed(int(torch.randint(2**31, ())))

        def draw(count: int, first: bool) -> torch.Tensor:  # noqa: ARG001  # both ends are known
            return _all(parts.count) if exact else _drawn(count, parts.count, generator)

        def is_sure(so_far: Samples) -> bool:
            each = (_Shares(so_far, _numbers(one, so_far.outputs), _numbers(one, ends), exact=False) for one in targets)
            widths = [shares.interval() for shares in each]
            return all(width is not None and width <= (self.interval or 0.0) for width in widths)

        return sampled(
            [draw],
            lambda masks, tell: parts.outputs(model, masks, batch, tell),
            2**parts.count - 2 if exact else self.samples,
            is_sure if self.interval and not exact else None,
            partial(runtime.progress, self.about.title),
        )

    def _unsure(self, shares: _Shares, samples: int) -> tuple[str, ...]:
        wanted = None if shares.exact else self.interval
        return unsure(self.about.name, wanted, shares.interval() if wanted else None, samples)

    def _values(self, parts: Superpixels, shares: _Shares, samples: int) -> dict[str, Value]:
        covered, whole = shares.ends
        return {
            "output": Value(value=whole, unit="of the model, for the picture"),
            "output when covered": Value(value=covered, unit="of the model; the shares add up to the difference"),
            "segments": Value(value=parts.count),
            "segments without effect": Value(value=parts.inert),
            "samples": Value(value=samples, unit="all there are" if shares.exact else "drawn in pairs"),
            "ranking's interval": Value(value=0.0 if shares.exact else shares.interval(), unit=RANKS, n=samples),
        }


class _Shares:
    """The shares of segments in one output.

    Args:
        samples: the masks.
        outputs: (samples,) of them.
        ends: the outputs of nothing shown and of everything.
        exact: whether the masks are all that there are, else they are drawn as the kernel weighs them.
    """

    def __init__(self, samples: Samples, outputs: np.ndarray, ends: np.ndarray, *, exact: bool) -> None:
        self.outputs, self.exact = outputs, exact
        self.ends = (float(ends[0]), float(ends[1]))
        masks = samples.masks.numpy().astype(np.float64)
        sizes = masks.sum(axis=1)
        weights = _all_weights(sizes.astype(int), masks.shape[1]) if exact else np.ones(len(masks))
        weighted = masks * weights[:, None]
        self._products = np.stack([masks[own].T @ weighted[own] for own in samples.groups])
        self._drops = np.stack([weighted[own].T @ (outputs[own] - self.ends[0]) for own in samples.groups])

    def values(self, counts: np.ndarray | None = None) -> np.ndarray:
        """Return the shares (segments,); counts say how often each group of samples counts."""
        counts = np.ones(len(self._products)) if counts is None else counts
        products, drops = np.tensordot(counts, self._products, 1), counts @ self._drops
        return solved(products, drops, self.ends[1] - self.ends[0])

    def interval(self) -> float | None:
        """Return how uncertain their ranking is."""
        return rank_interval(self.values, len(self._products))


def _numbers(target: Target, outputs: torch.Tensor) -> np.ndarray:
    numbers: np.ndarray = target(outputs).double().cpu().numpy()
    return numbers


def _all(parts: int) -> torch.Tensor:
    """Return every mask but the two ends (2^parts - 2, parts)."""
    return torch.tensor(list(product((False, True), repeat=parts))[1:-1])


def _all_weights(sizes: np.ndarray, parts: int) -> np.ndarray:
    """Return the Shapley kernel of single masks of some sizes."""
    from scipy.special import comb  # slow to import

    weights: np.ndarray = kernel(sizes, parts) / comb(parts, sizes)
    return weights


def _drawn(count: int, parts: int, generator: torch.Generator) -> torch.Tensor:
    """Return masks (count, parts) in pairs, their sizes drawn as the kernel weighs them."""
    sizes = np.arange(1, parts)
    chances = torch.from_numpy(kernel(sizes, parts))
    drawn = 1 + torch.multinomial(chances, -(-count // 2), replacement=True, generator=generator)
    order = torch.rand((len(drawn), parts), generator=generator).argsort(1).argsort(1)
    return with_opposites(order < drawn[:, None])[:count]
