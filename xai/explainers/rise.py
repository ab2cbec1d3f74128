"""RISE."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import torch
from pydantic import Field
from torch.nn import functional as F

from xai.explainers.base import ROUNDING, Attribution, Attributor
from xai.masking.sampling import (
    INTERVAL,
    RANKS,
    Balanced,
    Samples,
    Tell,
    gathered,
    groups_of,
    rank_interval,
    sampled,
    unsure,
    widened,
)
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
    """Sums over samples of masks and of masks times outputs, and what each sample showed in the large.

    Args:
        shape: height and width.
        targets: how many outputs there are.
        cells: of a mask along each side.
        most: samples that may come.
    """

    def __init__(self, shape: tuple[int, int], targets: int, cells: int, most: int) -> None:
        self._cells = cells
        self._masks = torch.zeros(shape, dtype=torch.float64)
        self._products = torch.zeros(targets, *shape, dtype=torch.float64)
        self._count = 0
        self._shown = torch.empty(most, cells**2)  # see `gathered` why they are made beforehand
        self._drawn = torch.empty(most, (cells + 1) ** 2)
        self._outputs = torch.empty(most, targets, dtype=torch.float64)

    def add(self, drawn: torch.Tensor, masks: torch.Tensor, outputs: torch.Tensor) -> None:
        """Add cells as they were drawn, masks (samples, height, width) of them, and outputs (samples, targets)."""
        self._masks += masks.sum(0)
        self._products += torch.einsum("nt,nhw->thw", outputs, masks)
        new = slice(self._count, self._count + len(masks))
        self._shown[new] = F.adaptive_avg_pool2d(masks[:, None], self._cells).flatten(1)
        self._drawn[new] = drawn
        self._outputs[new] = outputs
        self._count += len(masks)

    def map(self, target: int) -> torch.Tensor:
        """Return by how much outputs lie above their mean where a place is shown, (height, width)."""
        mean = self._outputs[: self._count, target].mean()
        return torch.where(self._masks > 0, self._products[target] / self._masks - mean, 0.0)

    def interval(self, target: int) -> float | None:
        """Return how uncertain the ranking of cells is.

        The cells as they were drawn are balanced: what a linear model of them says of the outputs is no chance. What
        the shifts make of them is not.
        """
        shown, outputs = self._shown[: self._count].numpy(), self._outputs[: self._count, target].numpy()
        drawn = np.column_stack([np.ones(self._count), self._drawn[: self._count].numpy()])
        share = shown / shown.sum(0) - 1 / len(shown)
        both = np.column_stack([outputs, share])
        explained = drawn @ np.linalg.lstsq(drawn, both, rcond=None)[0]
        left = widened(both - explained, len(both), drawn.shape[1])
        if left is None:
            return None
        chance = left[:, :1] * explained[:, 1:] + (outputs - outputs.mean())[:, None] * left[:, 1:]
        shifts = np.stack([chance[own].sum(0) for own in groups_of(len(chance))])
        return rank_interval(lambda counts: outputs @ share + counts @ shifts, len(shifts))


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
        draws, sums = Balanced((cells + 1) ** 2, generator), Sums(shape, len(targets), cells, self.samples)

        def draw(count: int, first: bool) -> torch.Tensor:  # noqa: ARG001  # no mask is special
            shown = draws(count)
            shifts = torch.rand((-(-count // 2), 2), generator=generator).repeat_interleave(2, 0)[:count]
            return torch.cat([shown.float(), shifts], 1)

        def answers(masks: torch.Tensor, tell: Tell) -> Iterator[torch.Tensor]:
            for number, part in enumerate(masks.split(batch)):
                tell(number * batch)
                drawn = part[:, :-2]
                smooth = enlarged(drawn.bool().view(-1, cells + 1, cells + 1), part[:, -2:], shape)
                shown = torch.lerp(fill, x, smooth.to(x.device)[:, None])
                found = model.outputs(shown)
                own = torch.stack([target(found) for target in targets], 1)
                sums.add(drawn, smooth.double(), own.double().cpu())
                yield found

        def outputs(masks: torch.Tensor, tell: Tell) -> torch.Tensor:
            return gathered(answers(masks, tell), len(masks))

        def is_sure(_: Samples) -> bool:
            widths = [sums.interval(number) for number in range(len(targets))]
            return all(width is not None and width <= (self.interval or 0.0) for width in widths)

        tell = partial(runtime.progress, self.about.title)
        samples = sampled([draw], outputs, self.samples, is_sure if self.interval else None, tell)
        widths = [sums.interval(number) for number in range(len(targets))]
        return [
            Attribution(
                sums.map(number),
                chosen={"batch": batch, "cells": cells, "fill value": numbers(fill)},
                values={
                    "samples": Value(value=len(samples.masks), unit="drawn in pairs"),
                    "mean output": Value(value=float(target(samples.outputs).mean()), unit="of masked pictures"),
                    "ranking's interval": Value(value=widths[number], unit=f"{RANKS}; of {cells} x {cells} cells"),
                },
                notes=unsure(self.about.name, self.interval, widths[number], len(samples.masks)),
                noise=ROUNDING * float(samples.outputs.abs().max()),
                arrays={"masks": samples.masks.numpy(), "outputs": target(samples.outputs).double().cpu().numpy()},
            )
            for number, target in enumerate(targets)
        ]
