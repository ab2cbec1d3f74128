"""Occlusion sensitivity."""

from __future__ import annotations

from itertools import product
from typing import Literal

import torch
from pydantic import Field

from xai.errors import UsageError
from xai.explainers.base import Attribution, Explainer
from xai.models.model import Model
from xai.models.targets import Target
from xai.registry import Kind, Method
from xai.reports.records import Value
from xai.runtime import Runtime

Fill = Literal["image", "dataset", "black", "white", "grey"]
MAX_BATCH = 32
ROUNDING = 2.0**-20  # of the largest output: what float32 sums may differ by from batch to batch


def starts(size: int, window: int, stride: int) -> list[int]:
    """Return where windows begin along one side: the last one reaches or passes the border."""
    return [index * stride for index in range(1 + -(-max(size - window, 0) // stride))]


def average(drops: torch.Tensor, places: list[tuple[slice, slice]], shape: tuple[int, int]) -> torch.Tensor:
    """Return each pixel's mean drop (height, width) over the windows that cover it.

    Args:
        drops: (windows,) score of the whole input less the score of the occluded one.
        places: rows and columns of each window.
        shape: height and width.
    """
    total = torch.zeros(shape, dtype=torch.float64)
    count = torch.zeros(shape, dtype=torch.float64)
    for drop, (rows, columns) in zip(drops.tolist(), places, strict=True):
        total[rows, columns] += drop
        count[rows, columns] += 1
    return total / count


class Occlusion(Explainer):
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
    fill: Fill | float = Field(
        default="image",
        description="what covers: means of the image or the dataset, black, white, grey, or a number in input units",
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
        low, high = model.input.range
        if not isinstance(self.fill, str) and not low <= self.fill <= high:
            raise UsageError(f"occlusion.fill is {self.fill:g}; expected a value in [{low:g}, {high:g}] (input units)")

    def attribute(self, model: Model, x: torch.Tensor, target: Target, runtime: Runtime) -> Attribution:
        """Cover windows in batches, and average the drops where windows overlap."""
        window, stride = self._sizes(model)
        height, width = x.shape[-2:]
        fill = self._colour(model, x)
        places = [
            (slice(top, top + window), slice(left, left + window))
            for top, left in product(starts(height, window, stride), starts(width, window, stride))
        ]
        outputs = model(x[None])
        whole = target(outputs)
        batch = self.batch or self._batch(model, runtime)
        drops = []
        for done in range(0, len(places), batch):
            runtime.progress(self.about.title, done, len(places))
            drops.append(whole - target(model(_covered(x, places[done : done + batch], fill))))
        runtime.progress(self.about.title, len(places), len(places))
        raw = average(torch.cat(drops).double().cpu(), places, (height, width))
        return Attribution(
            raw,
            chosen={"window": window, "stride": stride, "batch": batch, "fill value": _numbers(fill)},
            values={
                "windows": Value(value=len(places)),
                "output": Value(value=float(whole), unit="of the whole picture"),
            },
            noise=ROUNDING * float(outputs.abs().max()),
        )

    def _sizes(self, model: Model) -> tuple[int, int]:
        window = self.window or max(1, round(min(model.input.shape[1:]) / 5))
        return window, self.stride or max(1, window // 2)

    def _batch(self, model: Model, runtime: Runtime) -> int:
        needed = model.graph.bytes_per_input if model.graph else 100 * 4 * torch.Size(model.input.shape).numel()
        return max(1, min(MAX_BATCH, runtime.memory // needed))

    def _colour(self, model: Model, x: torch.Tensor) -> torch.Tensor:
        """Return what covers a window, (channels, 1, 1) in input units."""
        low, high = model.input.range
        if self.fill == "image":
            return x.mean(dim=(-2, -1), keepdim=True)
        if self.fill == "dataset":
            values = list(model.input.mean)
        else:
            named = {"black": low, "white": high, "grey": (low + high) / 2}
            values = [named[self.fill] if isinstance(self.fill, str) else self.fill]
        return torch.tensor(values, dtype=x.dtype, device=x.device).view(-1, 1, 1).expand(x.shape[0], 1, 1)


def _covered(x: torch.Tensor, places: list[tuple[slice, slice]], fill: torch.Tensor) -> torch.Tensor:
    """Return copies of x (channels, height, width), each with one window filled."""
    copies = x.repeat(len(places), 1, 1, 1)
    for copy, (rows, columns) in zip(copies, places, strict=True):
        copy[:, rows, columns] = fill
    return copies


def _numbers(fill: torch.Tensor) -> str:
    return ", ".join(f"{value:.4g}" for value in fill.flatten().tolist())
