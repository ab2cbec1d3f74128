"""Gradient SHAP, also called expected gradients."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import Field

from xai.explainers.base import Attribution, Attributor, account, completeness_error, gradients
from xai.models.fill import NamedFill, fill_colour
from xai.models.model import Model
from xai.models.targets import Target
from xai.registry import Kind, Method, Need
from xai.reports.records import Scalar
from xai.runtime import Runtime

FAR = 0.1  # completeness error from which the samples are said to be too few
COLOURS: tuple[NamedFill, ...] = ("image", "dataset", "black", "white", "grey")


class GradientShap(Attributor):
    """Gradients at random places on the ways from random baselines (Lundberg & Lee 2017, Erion et al. 2021)."""

    about = Method(
        name="gradientshap",
        title="GradientSHAP",
        summary=(
            "Shares out the difference between the output for the picture and its mean over random baselines: "
            "each pixel gets what it adds, on average over the ways from them."
        ),
        limits=(
            "All is counted from the baselines: noise around the mean colours of the picture and of the dataset, "
            "black, white and grey, and not other pictures of the data. It is a mean of random samples: the "
            "completeness error says how near it is. It equals Shapley values only where the output is linear."
        ),
        source=(
            "Lundberg & Lee 2017, A Unified Approach to Interpreting Model Predictions; Erion et al. 2021, Improving "
            "performance of deep learning models with axiomatic attribution priors and expected gradients"
        ),
        kind=Kind.HEURISTIC,
        needs=frozenset({Need.GRADIENTS}),
    )
    signed = True
    unit = "share of the difference between the target's outputs"

    samples: int = Field(default=100, ge=1, le=100_000, description="baselines, and places on the ways from them")
    noise: float = Field(default=0.1, ge=0, le=1, description="of the baselines, as a share of the input's range")
    batch: int | None = Field(default=None, ge=1, description="samples in one pass; default what memory allows")

    def attribute(
        self, model: Model, x: torch.Tensor, targets: Sequence[Target], runtime: Runtime
    ) -> list[Attribution]:
        """Add up way times gradient, batch by batch, and beside it the outputs of the baselines."""
        batch = self.batch or runtime.batch(model.bytes_per_input)
        sums = [torch.zeros_like(x, dtype=torch.float64) for _ in targets]
        with torch.no_grad():
            outputs = model(x[None]).double()
        starts = torch.zeros_like(outputs)
        for part in runtime.batches(self.about.title, self.samples, batch):
            drawn = [self._draw(model, x, number) for number in part]
            baselines, shares = (torch.stack(parts) for parts in zip(*drawn, strict=True))
            points = (baselines + shares.view(-1, 1, 1, 1) * (x - baselines)).requires_grad_()
            for total, found in zip(sums, gradients(model(points), points, targets), strict=True):
                total += ((x - baselines) * found).sum(dim=0)
            with torch.no_grad():
                starts += model(baselines).sum(dim=0)
        drawn_from = f"noise around {', '.join(COLOURS)}, clipped to the input's range"
        chosen: dict[str, Scalar] = {"batch": batch, "baselines": drawn_from}
        answers = []
        for target, total in zip(targets, sums, strict=True):
            mean = total / self.samples
            ends = float(target(outputs)), float(target(starts)) / self.samples
            notes = _notes(completeness_error(float(mean.sum()), *ends))
            values = account(float(mean.sum()), *ends)
            answers.append(Attribution(mean.sum(dim=0), chosen=chosen, values=values, notes=notes))
        return answers

    def _draw(self, model: Model, x: torch.Tensor, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a baseline (channels, height, width), the colours in turn, and a share of the way ()."""
        low, high = model.input.span
        colour = fill_colour(COLOURS[number % len(COLOURS)], x, model.input)
        baseline = (colour + self.noise * (high - low) * torch.randn_like(x)).clamp(low, high)
        return baseline, torch.rand((), dtype=x.dtype, device=x.device)


def _notes(error: float | None) -> tuple[str, ...]:
    if error is None or error <= FAR:
        return ()
    return (
        f"The attributions miss {100 * error:.3g} % of the difference that they should add up to: the samples are too "
        "few, so raise gradientshap.samples, or the two outputs nearly the same.",
    )
