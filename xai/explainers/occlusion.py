"""Occlusion sensitivity."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import torch
from pydantic import Field

from xai.errors import UsageError
from xai.explainers.base import ROUNDING, Attribution, Attributor
from xai.models.fill import FILLS, Fill, check_fill, fill_colour, numbers
from xai.models.model import Model
from xai.models.targets import Target
from xai.registry import Kind, Method
from xai.reports.records import Value
from xai.runtime import Runtime


def starts(size: int, window: int, stride: int) -> list[int]:
    """Return where windows begin along one side: the last one reaches or passes the border."""
    return [index * stride for index in range(1 + -(-max(size - window, 0) // stride))]


def average(drops: torch.Tensor, places: list[tuple[slice, slice]], shape: tuple[int, int]) -> torch.Tensor:
    """Return each pixel's mean drops (targets, height, width) over the windows that cover it.

    Args:
        drops: (windows, targets) outputs of the whole input less those of the occluded one.
        places: rows and columns of each window.
        shape: height and width.
    """
    total = torch.zeros((drops.shape[1], *shape), dtype=torch.float64)
    count = torch.zeros(shape, dtype=torch.float64)
    for drop, (rows, columns) in zip(drops, places, strict=True):
        total[:, rows, columns] += drop[:, None, None]
        count[rows, columns] += 1
    return total / count


class Occlusion(Attributor):
    """The output's drop when a window is covered (Zeiler & Fergus 2014)."""

    about = Method(
        name="occlusion",
        title="Occlusion sensitivity",
        summary="Each place shows by how much the target's output falls when a window there is covered.",
        limits=(
            "Covered pictures are unlike any the model was trained on, the answer depends on window and fill, and "
            "evidence that stands in two places is missed, since only one is covered at a time."
        ),
        source="Zeiler & Fergus 2014, Visualizing and Understanding Convolutional Networks",
        kind=Kind.HEURISTIC,
        default=True,
    )
    signed = True
    unit = "drop of the target's output"

    window: int | None = Field(
        default=None, ge=1, description="side of the window in pixels; default a fifth of the shorter side"
    )
    stride: int | None = Field(
        default=None, ge=1, description="pixels between windows, at most the window; default half the window"
    )
    fill: Fill = Field(
        default="image",
        description=f"what covers: {FILLS}",
    )
    batch: int | None = Field(default=None, ge=1, description="windows in one forward pass; default what memory allows")

    def check(self, model: Model) -> None:
        """Raise UsageError if window, stride or fill do not fit the model's input."""
        window, stride = self._sizes(model)
        shorter = min(model.input.shape[1:])
        if window > shorter:
            raise UsageError(f"occlusion.window is {window} pixels; the input's shorter side has {shorter}")
        if stride > window:
            raise UsageError(
                f"occlusion.stride is {stride}, more than the window of {window}: pixels would be left out"
            )
        check_fill(self.fill, model.input, "occlusion.fill")

    def attribute(
        self, model: Model, x: torch.Tensor, targets: Sequence[Target], runtime: Runtime
    ) -> list[Attribution]:
        """Cover windows in batches, and average the drops where windows overlap."""
        window, stride = self._sizes(model)
        height, width = x.shape[-2:]
        fill = fill_colour(self.fill, x, model.input)
        places = [
            (slice(top, top + window), slice(left, left + window))
            for top, left in product(starts(height, window, stride), starts(width, window, stride))
        ]
        outputs = model(x[None])
        whole = _of(targets, outputs)
        batch = self.batch or runtime.batch(model.bytes_per_input)
        drops = []
        for done in range(0, len(places), batch):
            runtime.progress(self.about.title, done, len(places))
            drops.append(whole - _of(targets, model(_covered(x, places[done : done + batch], fill))))
        runtime.progress(self.about.title, len(places), len(places))
        maps = average(torch.cat(drops).double().cpu(), places, (height, width))
        return [
            Attribution(
                raw,
                chosen={"window": window, "stride": stride, "batch": batch, "fill value": numbers(fill)},
                values={
                    "windows": Value(value=len(places)),
                    "output": Value(value=float(target(outputs)), unit="of the whole picture"),
                },
                noise=ROUNDING * float(outputs.abs().max()),
            )
            for raw, target in zip(maps, targets, strict=True)
        ]

    def _sizes(self, model: Model) -> tuple[int, int]:
        window = self.window or max(1, round(min(model.input.shape[1:]) / 5))
        return window, self.stride or max(1, window // 2)


def _of(targets: Sequence[Target], outputs: torch.Tensor) -> torch.Tensor:
    """Return what each target is, (batch, targets), of outputs (batch, classes)."""
    return torch.stack([target(outputs) for target in targets], dim=1)


def _covered(x: torch.Tensor, places: list[tuple[slice, slice]], fill: torch.Tensor) -> torch.Tensor:
    """Return copies of x (channels, height, width), each with one window filled."""
    copies = x.repeat(len(places), 1, 1, 1)
    for copy, (rows, columns) in zip(copies, places, strict=True):
        copy[:, rows, columns] = fill
    return copies
