"""Saliency: the gradient's size."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from xai.explainers.base import Attribution, Attributor, gradients
from xai.models.model import Model
from xai.models.targets import Target
from xai.registry import Kind, Method, Need
from xai.runtime import Runtime


class Saliency(Attributor):
    """The largest absolute gradient over the channels (Simonyan et al. 2014)."""

    about = Method(
        name="saliency",
        title="Saliency",
        summary="Bright pixels are those whose smallest change moves the target's output the most.",
        limits=(
            "It is about tiny changes of single pixels, not about what makes the output as large as it is: where the "
            "output is saturated it shows nothing. It does not say whether a pixel speaks for the target or against it."
        ),
        source="Simonyan et al. 2014, Deep Inside Convolutional Networks: Visualising Image Classification Models and "
        "Saliency Maps",
        kind=Kind.HEURISTIC,
        needs=frozenset({Need.GRADIENTS}),
    )
    signed = False
    unit = "size of the gradient, per unit of the input"

    def attribute(
        self,
        model: Model,
        x: torch.Tensor,
        targets: Sequence[Target],
        runtime: Runtime,  # noqa: ARG002  # one forward pass needs no batches
    ) -> list[Attribution]:
        """Take each target's gradient after one forward pass."""
        inputs = x[None].clone().requires_grad_()
        return [Attribution(found[0].abs().amax(dim=0)) for found in gradients(model(inputs), inputs, targets)]
