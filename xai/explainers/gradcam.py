"""Grad-CAM."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import Field
from torch.nn import functional as F

from xai.errors import NotApplicableError
from xai.explainers.base import Attribution, Attributor
from xai.models.graph import Layer
from xai.models.model import Model
from xai.models.targets import Target
from xai.registry import Kind, Method, Need
from xai.runtime import Runtime


def grad_cam(activation: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """Return the map (batch, rows, columns) of an activation and its gradient (batch, channels, rows, columns)."""
    weights = gradient.mean(dim=(-2, -1), keepdim=True)
    return F.relu((weights * activation).sum(dim=1))


class GradCAM(Attributor):
    """Gradient-weighted class activation mapping (Selvaraju et al. 2017)."""

    about = Method(
        name="gradcam",
        title="Grad-CAM",
        summary="Bright places hold features of one layer that raise the target's output.",
        limits=(
            "It is as coarse as the layer's grid, shows only what speaks for the target, and says nothing about what "
            "would happen if the place were changed."
        ),
        source="Selvaraju et al. 2017, Grad-CAM: Visual Explanations via Gradient-based Localization",
        kind=Kind.HEURISTIC,
        needs=frozenset({Need.GRADIENTS, Need.GRAPH}),
        default=True,
    )
    signed = False
    unit = "weighted activation"

    layer: str | None = Field(default=None, description="layer to look at; default the last one with rows and columns")

    def check(self, model: Model) -> None:
        """Raise UsageError if there is no such layer."""
        if self.layer is not None and model.graph is not None:
            model.layer(self.layer)

    def applies(self, model: Model) -> None:
        """Raise NotApplicableError if no layer has rows and columns, or the named one has none."""
        super().applies(model)
        self._layer(model)

    def attribute(
        self,
        model: Model,
        x: torch.Tensor,
        targets: Sequence[Target],
        runtime: Runtime,  # noqa: ARG002  # one forward pass needs no batches
    ) -> list[Attribution]:
        """Weight the layer's channels by a target's mean gradient, add them up, keep what is positive."""
        layer = self._layer(model)
        tap = model.tap(x[None], layer)
        activation = layer.by_channel(tap.value.detach())
        found = []
        for target in targets:
            (gradient,) = torch.autograd.grad(target(tap.outputs).sum(), tap.value, retain_graph=True)
            coarse = grad_cam(activation, layer.by_channel(gradient))
            fine = F.interpolate(coarse[:, None], size=x.shape[-2:], mode="bilinear", align_corners=False)
            grid = f"{coarse.shape[-2]} x {coarse.shape[-1]}"
            found.append(Attribution(fine[0, 0], chosen={"layer": layer.name, "grid": grid}))
        return found

    def _layer(self, model: Model) -> Layer:
        """Return the layer that is looked at: one with rows and columns."""
        layer = model.layer(self.layer) if self.layer else model.spatial_layer
        if not layer.is_feature_map:
            raise NotApplicableError(f"the output of layer {layer.name!r} has no rows and columns: {layer.shape}")
        return layer
