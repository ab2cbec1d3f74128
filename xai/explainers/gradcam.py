"""Grad-CAM."""

from __future__ import annotations

import torch

from xai.explainers.base import GradientCAM
from xai.registry import Kind, Method, Need


def grad_cam(activation: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """Return the map (batch, rows, columns) of an activation and its gradient (batch, channels, rows, columns)."""
    weights = gradient.mean(dim=(-2, -1), keepdim=True)
    return (weights * activation).sum(dim=1)


class GradCAM(GradientCAM):
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
    unit = "weighted activation"

    def weighted(self, activation: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        """Weight each channel by the target's mean gradient."""
        return grad_cam(activation, gradient)
