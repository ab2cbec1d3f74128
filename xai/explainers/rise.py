"""RISE."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from pydantic import Field
from torch.nn import functional as F

from xai.explainers.base import ROUNDING, Attribution, Attributor
from xai.masking.sampling import GROUPS, INTERVAL, RANKS, Samples, Tell, fair, rank_interval, sampled
from xai.models.fill import FILLS, Fill, check_fill, fill_colour, numbers
from xai.models.model import Model
from xai.models.targets import Target
from xai.registry import Kind, Method
from xai.reports.records import Value
from xai.runtime import Runtime


def enlarged(cells: torch.Tensor, shifts: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    """Return smooth masks (samples, height, width), 0 covered to 1 shown.

    Args:
        cells: (samples, rows + 1, columns + 1) bool.
        shifts: (samples, 2) where each begins, as a share of a cell.
        shape: height and width, of which a cell is one part of as many as there are rows, and columns.
    """
    cell = [-(-side // (count - 1)) for side, count in zip(shape, cells.shape[1:], strict=True)]
    size = [side * count for side, count in zip(cell, cells.shape[1:], strict=True)]
    whole = F.interpolate(cells[:, None].float(), size=size, mode="bilinear", align_corners=False)[:, 0]
    starts = (shifts * torch.tensor(cell)).long().tolist()
    height, width = shape
    cut = [one[top : top + height, left : left + width] for one, (top, left) in zip(whole, starts, strict=True)]
    return torch.stack(cut)


class Sums:
    """Sums over samples, by group, of masks and of masks times outputs.

    Args:
        shape: height and width.
        classes: how many outputs there are.
    """

    def __init__(self, shape: tuple[int, int], targets: int) -> None:
        self.masks = torch.zeros(GROUPS, *shape, dtype=torch.float64)
        self.products = torch.zeros(GROUPS, targets, *shape, dtype=torch.float64)
        self.outputs = torch.zeros(GROUPS, targets, dtype=torch.float64)
        self.counts = torch.zeros(GROUPS, dtype=torch.float64)
        self._done = 0

    def add(self, masks: torch.Tensor, outputs: torch.Tensor) -> None:
        """Add masks (samples, height, width) and their outputs (samples, targets)."""
        group = torch.arange(self._done, self._done + len(masks)) // 2 % GROUPS
        self._done += len(masks)
        self.counts.index_add_(0, group, torch.ones(len(masks), dtype=torch.float64))
        self.outputs.index_add_(0, group, outputs)
        self.masks.index_add_(0, group, masks)
        for number, own in enumerate(outputs.unbind(1)):
            self.products[:, number].index_add_(0, group, masks * own[:, None, None])

    def map(self, target: int) -> torch.Tensor:
        """Return by how much outputs lie above their mean where a place is shown, (height, width)."""
        mean = self.outputs[:, target].sum() / self.counts.sum()
        return _risen(self.masks.sum(0), self.products[:, target].sum(0), mean)

    def interval(self, target: int, cells: int) -> float | None:
        """Return how uncertain the ranking of cells is."""
        coarse = partial(F.adaptive_avg_pool2d, output_size=(cells, cells))
        masks, products = coarse(self.masks[None])[0].flatten(1), coarse(self.products[:, target][None])[0].flatten(1)

        def estimate(counts: np.ndarray) -> np.ndarray:
            times = torch.from_numpy(counts).double()
            mean = (times @ self.outputs[:, target]) / (times @ self.counts)
            found: np.ndarray = _risen(times @ masks, times @ products, mean).numpy()
            return found

        return rank_interval(estimate, int((self.counts > 0).sum()))


def _risen(masks: torch.Tensor, products: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
    return torch.where(masks > 0, products / masks.clamp(min=torch.finfo(masks.dtype).tiny) - mean, 0.0)


class RISE(Attributor):
    """Randomized input sampling for explanation (Petsiuk et al. 2018)."""

    about = Method(
        name="rise",
        title="RISE",
        summary="Each place shows by how much the target's output lies above its mean when a random mask shows it.",
        limits=(
            "It is a mean over random smooth masks: coarse as their cells, with a residue of chance that the ranking's "
            "interval tells, and masked pictures are unlike any the model was trained on."
        ),
        source="Petsiuk et al. 2018, RISE: Randomized Input Sampling for Explanation of Black-box Models",
        kind=Kind.STATISTICAL,
    )
    signed = True
    unit = "rise of the target's output where the place is shown"

    samples: int = Field(default=2000, ge=4, le=1_000_000, description="masked copies of the picture, at most")
    cells: int = Field(default=7, ge=2, le=64, description="cells of a mask along each side")
    fill: Fill = Field(default="image", description=f"what stands where a mask covers: {FILLS}")
    interval: float | None = Field(default=None, gt=0, le=1, description=INTERVAL)
    batch: int | None = Field(default=None, ge=1, description="samples in one forward pass; default what memory allows")

    def check(self, model: Model) -> None:
        """Raise UsageError if the fill does not fit."""
        check_fill(self.fill, model.input, "rise.fill")

    def attribute(
        self, model: Model, x: torch.Tensor, targets: Sequence[Target], runtime: Runtime
    ) -> list[Attribution]:
        """Show the picture through pairs of opposite masks, once for all targets."""
        shape = (x.shape[-2], x.shape[-1])
        cells = min(self.cells, *shape)
        fill = fill_colour(self.fill, x, model.input)
        batch = self.batch or runtime.batch(model.bytes_per_input)
        generator = torch.Generator().manual_seed(int(torch.randint(2**31, ())))
        sums = Sums(shape, len(targets))

        def draw(count: int, first: bool) -> torch.Tensor:  # noqa: ARG001  # no mask is special
            shown = fair(count, (cells + 1) ** 2, generator, paired=True, whole=False)
            shifts = torch.rand((-(-count // 2), 2), generator=generator).repeat_interleave(2, 0)[:count]
            return torch.cat([shown.float(), shifts], 1)

        def outputs(masks: torch.Tensor, tell: Tell) -> torch.Tensor:
            found: list[torch.Tensor] = []
            for number, part in enumerate(masks.split(batch)):
                tell(number * batch)
                smooth = enlarged(part[:, :-2].bool().view(-1, cells + 1, cells + 1), part[:, -2:], shape)
                shown = torch.lerp(fill, x, smooth.to(x.device)[:, None])
                found.append(model.outputs(shown))
                own = torch.stack([target(found[-1]) for target in targets], 1)
                sums.add(smooth.double(), own.double().cpu())
            return torch.cat(found)

        def is_sure(_: Samples) -> bool:
            widths = [sums.interval(number, cells) for number in range(len(targets))]
            return all(width is not None and width <= (self.interval or 0.0) for width in widths)

        tell = partial(runtime.progress, self.about.title)
        samples = sampled([draw], outputs, self.samples, is_sure if self.interval else None, tell)
        return [
            Attribution(
                sums.map(number),
                chosen={"batch": batch, "cells": cells, "fill value": numbers(fill)},
                values={
                    "samples": Value(value=len(samples.masks), unit="drawn in pairs"),
                    "mean output": Value(value=float(target(samples.outputs).mean()), unit="of masked pictures"),
                    "ranking's interval": Value(
                        value=sums.interval(number, cells), unit=f"{RANKS}; of {cells} x {cells} cells"
                    ),
                },
                noise=ROUNDING * float(samples.outputs.abs().max()),
                arrays={"masks": samples.masks.numpy(), "outputs": target(samples.outputs).double().cpu().numpy()},
            )
            for number, target in enumerate(targets)
        ]
