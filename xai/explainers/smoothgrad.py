"""SmoothGrad."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import Field

from xai.explainers.base import Attribution, Attributor, gradients
from xai.models.model import Model
from xai.models.targets import Target
from xai.registry import Kind, Method, Need
from xai.runtime import Runtime


class SmoothGrad(Attributor):
    """The mean gradient over noisy copies of the input (Smilkov et al. 2017), its largest size over the channels."""

    about = Method(
        name="smoothgrad",
        title="SmoothGrad",
        summary=(
            "Averages the gradient over noisy copies of the picture, so that what only the noise of the gradient "
            "itself shows cancels: bright pixels move the target's output the most."
        ),
        limits=(
            "The map is about the model's surroundings of the picture: more noise shows coarser shapes. As with any "
            "gradient, it says where the output moves, not why it is as large as it is, and not in which direction."
        ),
        source="Smilkov et al. 2017, SmoothGrad: removing noise by adding noise",
        kind=Kind.HEURISTIC,
        needs=frozenset({Need.GRADIENTS}),
    )
    signed = False
    unit = "size of the mean gradient, per unit of the input"

    noise: float = Field(default=0.15, ge=0, le=10, description="standard deviation, as a share of the input's range")
    samples: int = Field(default=50, ge=1, le=100_000, description="noisy copies of the picture")
    batch: int | None = Field(default=None, ge=1, description="copies in one pass; default what memory allows")

    def attribute(
        self, model: Model, x: torch.Tensor, targets: Sequence[Target], runtime: Runtime
    ) -> list[Attribution]:
        """Add the targets' gradients up, batch by batch."""
        low, high = model.input.span
        deviation = self.noise * (high - low)
        batch = self.batch or runtime.batch(model.bytes_per_input)
        sums = [torch.zeros_like(x) for _ in targets]
        for part in runtime.batches(self.about.title, self.samples, batch):
            copies = torch.stack([x + deviation * torch.randn_like(x) for _ in part]).requires_grad_()
            for total, found in zip(sums, gradients(model(copies), copies, targets), strict=True):
                total += found.sum(dim=0)
        chosen = {"batch": batch, "deviation": deviation}
        return [Attribution((total / self.samples).abs().amax(dim=0), chosen=dict(chosen)) for total in sums]
