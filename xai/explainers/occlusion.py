"""Occlusion sensitivity."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise, product
from math import isqrt

import torch
from pydantic import Field

from xai.errors import AnalysisError, UsageError
from xai.explainers.base import ROUNDING, Attribution, Attributor
from xai.models.fill import FILLS, Fill, check_fill, fill_colour, numbers
from xai.models.model import ROUNDING as BY_BATCH
from xai.models.model import Model
from xai.models.patches import Corner
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


def in_blocks(tops: Sequence[int], lefts: Sequence[int], batch: int) -> list[list[Corner]]:
    """Return the windows' corners by batches of neighbours: what they change is alike in size."""
    high = isqrt(batch)
    rows, columns = _parts(tops, high), _parts(lefts, batch // high)
    return [list(product(some, others)) for some, others in product(rows, columns)]


def _parts(numbers: Sequence[int], most: int) -> list[Sequence[int]]:
    """Return the numbers in as few parts of about equal length as hold at most that many each."""
    count = -(-len(numbers) // most)
    ends = [len(numbers) * part // count for part in range(count + 1)]
    return [numbers[begin:end] for begin, end in pairwise(ends)]


class Covering:
    """What gives the outputs of a picture with one window covered.

    Args:
        model: the model.
        x: (channels, height, width), the picture.
        window: its side.
        fill: (channels, 1, 1), what covers.
    """

    def __init__(self, model: Model, x: torch.Tensor, window: int, fill: torch.Tensor) -> None:
        self._model, self._x, self._window, self._fill = model, x, window, fill
        self._incremental = model.incremental(x)

    @property
    def is_incremental(self) -> bool:
        """Whether only what a window can change is computed."""
        return self._incremental is not None

    @property
    def bytes_per_copy(self) -> int:
        """Bytes of activations that one more window in a batch takes."""
        incremental = self._incremental
        return self._model.bytes_per_input if incremental is None else incremental.bytes_per_copy(self._window)

    def outputs(self, corners: Sequence[Corner]) -> torch.Tensor:
        """Return the outputs (windows, classes); what lies beyond the border is left out."""
        if self._incremental is None:
            return self.whole(corners)
        size = self._window
        height, width = self._x.shape[1:]
        inside = [(min(top, height - size), min(left, width - size)) for top, left in corners]
        parts = torch.stack([self._x[:, top : top + size, left : left + size] for top, left in inside])
        for part, (top, left), (row, column) in zip(parts, inside, corners, strict=True):
            part[:, row - top :, column - left :] = self._fill
        return self._incremental(parts, inside)

    def whole(self, corners: Sequence[Corner]) -> torch.Tensor:
        """Return the same by whole copies of the picture."""
        copies = self._x.repeat(len(corners), 1, 1, 1)
        for copy, (top, left) in zip(copies, corners, strict=True):
            copy[:, top : top + self._window, left : left + self._window] = self._fill
        return self._model.outputs(copies)


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
        outputs, covering = model(x[None]), Covering(model, x, window, fill)
        batch = self.batch or runtime.batch(covering.bytes_per_copy)
        blocks = in_blocks(starts(height, window, stride), starts(width, window, stride), batch)
        places = [corner for block in blocks for corner in block]
        covered = self._outputs(covering.outputs, blocks, runtime)
        self._check(covering, places, covered, outputs)
        drops = torch.stack([target(outputs) - target(covered) for target in targets], dim=1)
        slices = [(slice(top, top + window), slice(left, left + window)) for top, left in places]
        maps = average(drops.double().cpu(), slices, (height, width))
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

    def _check(
        self, covering: Covering, places: Sequence[Corner], covered: torch.Tensor, outputs: torch.Tensor
    ) -> None:
        """Put the window that changes most before the whole model, where only a part was computed.

        Raises:
            AnalysisError: it gives other outputs.
        """
        if not covering.is_incremental:
            return
        most = int((outputs - covered).abs().amax(1).argmax())
        difference = float((covering.whole([places[most]]) - covered[most]).abs().max())
        if not difference <= BY_BATCH * float(outputs.abs().max()):
            raise AnalysisError(
                f"covering the window at {places[most]} was expected to give what a whole copy gives; the outputs "
                f"differ by {difference:.3g}: please report this network"
            )

    def _outputs(
        self, outputs: Callable[[Sequence[Corner]], torch.Tensor], blocks: list[list[Corner]], runtime: Runtime
    ) -> torch.Tensor:
        """Return the outputs (windows, classes) with each window covered."""
        found, windows, done = [], sum(map(len, blocks)), 0
        for block in blocks:
            runtime.progress(self.about.title, done, windows)
            found.append(outputs(block))
            done += len(block)
        runtime.progress(self.about.title, windows, windows)
        return torch.cat(found)

    def _sizes(self, model: Model) -> tuple[int, int]:
        window = self.window or max(1, round(min(model.input.shape[1:]) / 5))
        return window, self.stride or max(1, window // 2)
