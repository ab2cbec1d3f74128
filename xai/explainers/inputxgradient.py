"""Input times gradient."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from xai.explainers.base import Attribution, Attributor, gradients
from xai.models.model import Model
from xai.models.targets import Target
from xai.registry import Kind, Method, Need
from xai.reports.records import Value
from xai.runtime import Runtime


class InputXGradient(Attributor):
    """The input times its gradient, summed over the channels (Shrikumar et al. 2016)."""

    about = Method(
        name="inputxgradient",
        title="Input x Gradient",
        summary=(
            "Each pixel's value times the slope of the target's output there: what the pixel would add to it if "
            "the model were linear."
        ),
        limits=(
            "Pixel values are counted from 0 in input units, so that a black pixel gets 0 whatever it means, and the "
            "same picture in negative gets another map. A saturated output has no slope."
        ),
        source="Shrikumar et al. 2016, Not Just a Black Box: Learning Important Features Through Propagating "
        "Activation Differences",
        kind=Kind.HEURISTIC,
        needs=frozenset({Need.GRADIENTS}),
    )
    signed = True
    unit = "share of the target's output"

    def attribute(
        self,
        model: Model,
        x: torch.Tensor,
        targets: Sequence[Target],
        runtime: Runtime,  # noqa: ARG002  # one forward pass needs no batches
    ) -> list[Attribution]:
        """Multiply the input by each target's gradient after one forward pass."""
        inputs = x[None].clone().requires_grad_()
        outputs = model(inputs)
        return [
            Attribution(
                (x * found[0]).sum(dim=0),
                values={
                    "output": Value(value=float(target(outputs.detach())), unit="of the picture"),
                    "sum": Value(value=float((x * found[0]).sum(dtype=torch.float64)), unit="of all attributions"),
                },
            )
            for target, found in zip(targets, gradients(outputs, inputs, targets), strict=True)
        ]
