"""Eigen-CAM."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional as F

from xai.explainers.base import Attribution, LayerAttributor, grad_cam_package
from xai.models.model import Model
from xai.models.targets import Target
from xai.registry import Kind, Method, Need
from xai.runtime import Runtime


def eigen_cam(activation: torch.Tensor) -> torch.Tensor:
    """Return the places' first principal component, (batch, rows, columns), of (batch, channels, rows, columns).

    Its sign, which the decomposition leaves open, is the one that makes the largest value positive.
    """
    grad_cam_package()
    from pytorch_grad_cam.utils.svd_on_activations import get_2d_projection_with_sign_correction

    return torch.from_numpy(get_2d_projection_with_sign_correction(activation.cpu().numpy())).to(activation)


class EigenCAM(LayerAttributor):
    """The first principal component of a layer's activations (Muhammad & Yeasin 2020)."""

    about = Method(
        name="eigencam",
        title="Eigen-CAM",
        summary="Bright places are those in which the features of one layer differ most, and alike, from the rest.",
        limits=(
            "It knows no class: it shows what stands out in the features, whatever the model makes of it, and is the "
            "same for every target. Which side of the component is bright is a convention."
        ),
        source="Muhammad & Yeasin 2020, Eigen-CAM: Class Activation Map using Principal Components",
        kind=Kind.HEURISTIC,
        needs=frozenset({Need.GRAPH}),
    )
    unit = "first principal component"

    def about_target(self) -> bool:
        """Say that one map stands for all targets."""
        return False

    def attribute(
        self,
        model: Model,
        x: torch.Tensor,
        targets: Sequence[Target],
        runtime: Runtime,  # noqa: ARG002  # one forward pass needs no batches
    ) -> list[Attribution]:
        """Project each place's features on the direction in which they differ most."""
        layer = self.looked_at(model)
        coarse = F.relu(eigen_cam(layer.by_channel(model.activation(x[None], layer))))
        return [self.fine(coarse[0], layer, x)] * len(targets)
