"""HiResCAM."""

from __future__ import annotations

import torch

from xai.explainers.base import GradientCAM, grad_cam_package
from xai.registry import Kind, Method, Need


def hires_cam(activation: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """Return the map (batch, rows, columns) of an activation and its gradient (batch, channels, rows, columns)."""
    formula = grad_cam_package().HiResCAM.get_cam_image
    found = formula(None, None, None, None, activation.cpu().numpy(), gradient.cpu().numpy(), eigen_smooth=False)
    return torch.from_numpy(found).to(activation)


class HiResCAM(GradientCAM):
    """Activation times gradient, place by place (Draelos & Carin 2020)."""

    about = Method(
        name="hirescam",
        title="HiResCAM",
        summary=(
            "Bright places hold features of one layer that raise the target's output there, weighted by the gradient "
            "at that very place."
        ),
        limits=(
            "It is as coarse as the layer's grid and shows only what speaks for the target. That it shows just what "
            "the model used is proved where one linear layer follows; elsewhere it is a first-order estimate."
        ),
        source="Draelos & Carin 2020, Use HiResCAM instead of Grad-CAM for faithful explanations of convolutional "
        "neural networks",
        kind=Kind.HEURISTIC,
        needs=frozenset({Need.GRADIENTS, Need.GRAPH}),
    )
    unit = "activation times gradient"

    def weighted(self, activation: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        """Weight each place of each channel by the target's gradient there."""
        return hires_cam(activation, gradient)
