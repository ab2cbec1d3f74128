"""Grad-CAM++."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from xai.explainers.base import GradientCAM
from xai.registry import Kind, Method, Need


def grad_cam_pp(activation: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """Return the map (batch, rows, columns) of an activation and its gradient (batch, channels, rows, columns).

    No constant is added to the denominator, so that the map does not depend on the gradient's scale: where pooling
    divides the gradient by the grid, its square is less than any such constant.
    """
    total = activation.sum(dim=(-2, -1), keepdim=True)
    denominator = 2 + total * gradient  # of gradient^2 / (2 gradient^2 + total * gradient^3)
    shares = torch.where((gradient != 0) & (denominator != 0), 1 / denominator, 0)
    weights = (shares * F.relu(gradient)).sum(dim=(-2, -1), keepdim=True)
    return (weights * activation).sum(dim=1)


class GradCAMPlusPlus(GradientCAM):
    """Grad-CAM with weights for several objects (Chattopadhay et al. 2018)."""

    about = Method(
        name="gradcampp",
        title="Grad-CAM++",
        summary=(
            "Bright places hold features of one layer that raise the target's output; a small or second object counts "
            "as much as a large one."
        ),
        limits=(
            "It is as coarse as the layer's grid, and its weights hardly depend on the class: maps of different "
            "targets look much alike. The formula is derived for activations that are never negative; where they are, "
            "as in transformers, it is no more than a rule."
        ),
        source="Chattopadhay et al. 2018, Grad-CAM++: Improved Visual Explanations for Deep Convolutional Networks",
        kind=Kind.HEURISTIC,
        needs=frozenset({Need.GRADIENTS, Need.GRAPH}),
    )
    unit = "weighted activation"

    def weighted(self, activation: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        """Weight each channel by its positive gradients, each by its share."""
        return grad_cam_pp(activation, gradient)
