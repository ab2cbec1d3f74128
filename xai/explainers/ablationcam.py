"""Ablation-CAM."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import Field
from torch.nn import functional as F

from xai.explainers.base import Attribution, LayerAttributor
from xai.models.graph import Layer
from xai.models.model import Model
from xai.models.tail import Tail
from xai.models.targets import Target
from xai.registry import Kind, Method, Need
from xai.reports.records import Scalar
from xai.runtime import Runtime


class AblationCAM(LayerAttributor):
    """Channels weighted by the output's drop without them (Desai & Ramaswamy 2020)."""

    about = Method(
        name="ablationcam",
        title="Ablation-CAM",
        summary="Bright places hold features of one layer without which the target's output falls.",
        limits=(
            "It is as coarse as the layer's grid. One channel is taken away at a time, so what stands in two of them "
            "is missed; and it is taken away everywhere, so a channel's places are not told apart."
        ),
        source="Desai & Ramaswamy 2020, Ablation-CAM: Visual Explanations for Deep Convolutional Network via "
        "Gradient-free Localization",
        kind=Kind.HEURISTIC,
        needs=frozenset({Need.GRAPH}),
    )
    unit = "activation times the drop of the target's output"

    channels: int | None = Field(default=None, ge=1, description="channels tried, those of the largest mean size")
    batch: int | None = Field(default=None, ge=1, description="channels in one forward pass; default what fits")

    def attribute(
        self, model: Model, x: torch.Tensor, targets: Sequence[Target], runtime: Runtime
    ) -> list[Attribution]:
        """Set each channel to zero, once for all targets, and run what follows the layer."""
        layer = self.looked_at(model)
        number = min(self.channels or layer.channels, layer.channels)
        batch = min(self.batch or runtime.batch(model.bytes_per_input), number)
        tail = Tail(model.needed_graph(), layer, x.expand(batch, *x.shape))
        activation = layer.by_channel(tail.value[:1])[0]
        tried = activation.abs().mean(dim=(-2, -1)).argsort(descending=True, stable=True)[:number]
        drops = self._drops(tail, layer, tried, runtime)
        chosen: dict[str, Scalar] = {"channels": number, "batch": batch}
        weighted = [(target(drops)[:, None, None] * activation[tried]).sum(dim=0) for target in targets]
        return [self.fine(F.relu(coarse), layer, x, chosen=chosen) for coarse in weighted]

    def _drops(self, tail: Tail, layer: Layer, tried: torch.Tensor, runtime: Runtime) -> torch.Tensor:
        """Return by how much the outputs fall without each channel, (channels, classes)."""
        whole = tail(tail.value)[:1]
        drops: list[torch.Tensor] = []
        for part in runtime.batches(self.about.title, len(tried), len(tail.value)):
            value = tail.value.clone()
            for row, channel in zip(value, tried[part.start : part.stop].tolist(), strict=False):  # the last are fewer
                row.select(layer.channel_axis - 1, channel).zero_()
            drops.append((whole - tail(value))[: len(part)])
        return torch.cat(drops)
