"""LayerCAM."""

from __future__ import annotations

import torch

from xai.explainers.base import GradientCAM, grad_cam_package
from xai.registry import Kind, Method, Need


def layer_cam(activation: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """Return the map (batch, rows, columns) of an activation and its gradient (batch, channels, rows, columns)."""
    formula = grad_cam_package().LayerCAM.get_cam_image
    found = formula(None, None, None, None, activation.cpu().numpy(), gradient.cpu().numpy(), eigen_smooth=False)
    return torch.from_numpy(found).to(activation)


class LayerCAM(GradientCAM):
    """Activation times positive gradient, place by place (Jiang et al. 2021)."""

    about = Method(
        name="layercam",
        title="LayerCAM",
        summary=(
            "Bright places hold features of one layer that more of would raise the target's output; early layers "
            "give fine maps."
        ),
        limits=(
            "It shows only what speaks for the target, and leaves out what speaks against it before adding up, so "
            "that a place where both stand looks as if it spoke for it. Early layers show edges and textures."
        ),
        source="Jiang et al. 2021, LayerCAM: Exploring Hierarchical Class Activation Maps for Localization",
        kind=Kind.HEURISTIC,
        needs=frozenset({Need.GRADIENTS, Need.GRAPH}),
    )
    unit = "activation times positive gradient"

    def weighted(self, activation: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        """Weight each place of each channel by the target's gradient there, where that is positive."""
        return layer_cam(activation, gradient)
