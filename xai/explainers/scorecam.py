"""Score-CAM."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import Field
from torch.nn import functional as F

from xai.explainers.base import ROUNDING, Attribution, LayerAttributor
from xai.models.fill import FILLS, Fill, check_fill, fill_colour, numbers
from xai.models.model import Model
from xai.models.targets import Target
from xai.registry import Kind, Method, Need
from xai.reports.records import Scalar, Value
from xai.runtime import Runtime

UNTOLD = (
    "Whichever channel's part of the picture is left, the target's output is the same: nothing weights the channels."
)


def masks(channels: torch.Tensor, size: torch.Size) -> torch.Tensor:
    """Return channels (n, rows, columns), none of them constant, at a size, each from 0 to 1: (n, 1, *size)."""
    fine = F.interpolate(channels[:, None], size=size, mode="bilinear", align_corners=False)
    low, high = fine.amin(dim=(-2, -1), keepdim=True), fine.amax(dim=(-2, -1), keepdim=True)
    return (fine - low) / (high - low)


class ScoreCAM(LayerAttributor):
    """Channels weighted by what the model says of what they show (Wang et al. 2020)."""

    about = Method(
        name="scorecam",
        title="Score-CAM",
        summary=(
            "Bright places hold features of one layer that, when only what they show of the picture is left, give the "
            "target a high output."
        ),
        limits=(
            "It is as coarse as the layer's grid. Masked pictures are unlike any the model was trained on, and where "
            "outputs are large, few channels or a single one make the map."
        ),
        source="Wang et al. 2020, Score-CAM: Score-Weighted Visual Explanations for Convolutional Neural Networks",
        kind=Kind.HEURISTIC,
        needs=frozenset({Need.GRAPH}),
    )
    unit = "weighted activation"

    channels: int | None = Field(default=None, ge=1, description="channels tried, those that vary most; default all")
    fill: Fill = Field(default="dataset", description=f"what covers: {FILLS}")
    batch: int | None = Field(default=None, ge=1, description="masks in one forward pass; default what memory allows")

    def check(self, model: Model) -> None:
        """Raise UsageError, too, if the fill does not fit."""
        super().check(model)
        check_fill(self.fill, model.input, "scorecam.fill")

    def attribute(
        self, model: Model, x: torch.Tensor, targets: Sequence[Target], runtime: Runtime
    ) -> list[Attribution]:
        """Mask the picture by each channel, once for all targets; a target's outputs weight the channels."""
        layer = self.looked_at(model)
        all_channels = layer.by_channel(model.activation(x[None], layer))[0]
        spread = all_channels.amax(dim=(-2, -1)) - all_channels.amin(dim=(-2, -1))
        varying = int((spread > 0).sum())
        tried = all_channels[spread.argsort(descending=True, stable=True)[:varying][: self.channels]]
        fill = fill_colour(self.fill, x, model.input)
        batch = self.batch or runtime.batch(model.bytes_per_input)
        outputs = self._outputs(model, x, fill, tried, batch, runtime)
        chosen: dict[str, Scalar] = {"channels": len(tried), "batch": batch, "fill value": numbers(fill)}
        values = {"constant channels": Value(value=len(all_channels) - varying, unit=f"of {len(all_channels)}")}
        found = []
        for target in targets:
            scores = target(outputs)
            is_told = len(tried) > 0 and bool(scores.max() - scores.min() > ROUNDING * scores.abs().max())
            weights = scores.softmax(dim=0)
            coarse = F.relu((weights[:, None, None] * tried).sum(dim=0))
            largest = float(weights.max()) if len(tried) else None
            told = {**values, "largest weight": Value(value=largest, unit="of one channel; all of them sum to 1")}
            notes = (UNTOLD,) if len(tried) and not is_told else ()
            found.append(self.fine(coarse * is_told, layer, x, chosen=chosen, values=told, notes=notes))
        return found

    def _outputs(
        self,
        model: Model,
        x: torch.Tensor,
        fill: torch.Tensor,
        tried: torch.Tensor,
        batch: int,
        runtime: Runtime,
    ) -> torch.Tensor:
        """Return the outputs (channels, classes) for the picture as each channel shows it."""
        found: list[torch.Tensor] = []
        for part in runtime.batches(self.about.title, len(tried), batch):
            shown = masks(tried[part.start : part.stop], x.shape[-2:])
            found.append(model.outputs(fill + (x - fill) * shown))
        return torch.cat(found) if found else x.new_zeros(0, len(model.classes))
