"""Integrated gradients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from pydantic import Field

from xai.explainers.base import Attribution, Attributor, account, completeness_error, gradients
from xai.models.fill import FILLS, Fill, check_fill, fill_colour, numbers
from xai.models.model import Model
from xai.models.targets import Target
from xai.registry import Kind, Method, Need
from xai.reports.records import Value
from xai.runtime import Runtime

FIRST = 16  # steps; then twice as many, and so on


@dataclass
class Integral:
    """A target's gradient along the way, by the trapezoidal rule.

    Args:
        target: what it is of.
        output: of the target for the input.
        start: that for the baseline.
        way: (channels, height, width) the input less its baseline.
        total: (channels, height, width) float64: the gradients of the steps so far, each by its weight.
        steps: into which the way is cut.
    """

    target: Target
    output: float
    start: float
    way: torch.Tensor
    total: torch.Tensor
    steps: int = 0

    def refine(self, gradient: torch.Tensor, steps: int) -> None:
        """Take the mean with what was there; gradient is the sum over the new places, in the middle of the steps."""
        self.total = (self.total + gradient / (steps // 2)) / 2 if self.steps else gradient
        self.steps = steps

    @property
    def attributions(self) -> torch.Tensor:
        """What each number of the input adds, (channels, height, width)."""
        return self.way * self.total

    @property
    def error(self) -> float | None:
        """By how much they miss the gain, as a share of it."""
        return completeness_error(float(self.attributions.sum()), self.output, self.start)


class IntegratedGradients(Attributor):
    """Gradients added up on the straight way from a baseline to the input (Sundararajan et al. 2017)."""

    about = Method(
        name="integratedgradients",
        title="Integrated gradients",
        summary=(
            "Shares out the difference between the outputs for the picture and for a baseline: each pixel gets what it "
            "adds on the straight way from one to the other."
        ),
        limits=(
            "All is counted from the baseline: pixels of its colour get 0, and another one gives another map. The way "
            "leads over pictures that the model was never trained on."
        ),
        source="Sundararajan et al. 2017, Axiomatic Attribution for Deep Networks",
        kind=Kind.HEURISTIC,
        needs=frozenset({Need.GRADIENTS}),
    )
    signed = True
    unit = "share of the difference between the target's outputs"

    baseline: Fill = Field(default="image", description=f"colour of the baseline: {FILLS}")
    error: float = Field(default=0.01, gt=0, lt=1, description="completeness error at which no more steps are taken")
    most_steps: int = Field(default=1024, ge=FIRST, le=2**20, description="steps at the most")
    batch: int | None = Field(default=None, ge=1, description="steps in one pass; default what memory allows")

    def check(self, model: Model) -> None:
        """Raise UsageError if the baseline does not fit."""
        check_fill(self.baseline, model.input, "integratedgradients.baseline")

    def attribute(
        self, model: Model, x: torch.Tensor, targets: Sequence[Target], runtime: Runtime
    ) -> list[Attribution]:
        """Double the steps until every target's attributions add up; each keeps the steps that it needed."""
        colour = fill_colour(self.baseline, x, model.input)
        start = colour.expand_as(x)
        batch = self.batch or runtime.batch(model.bytes_per_input)
        with torch.no_grad():
            outputs = model(torch.stack([x, start])).double()
        integrals = [
            Integral(target, float(after), float(before), x - start, torch.zeros_like(x, dtype=torch.float64))
            for target, (after, before) in ((target, target(outputs)) for target in targets)
        ]
        steps, open_ones = FIRST, list(integrals)
        while open_ones and steps <= self.most_steps:
            self._refine(model, start, open_ones, steps, batch, runtime)
            open_ones = [one for one in open_ones if one.error is not None and one.error > self.error]
            steps *= 2
        return [
            Attribution(
                one.attributions.sum(dim=0),
                chosen={"batch": batch, "baseline colour": numbers(colour)},
                values={
                    **account(float(one.attributions.sum()), one.output, one.start),
                    "steps": Value(value=one.steps),
                },
                notes=self._notes(one),
            )
            for one in integrals
        ]

    def _refine(
        self,
        model: Model,
        start: torch.Tensor,
        integrals: Sequence[Integral],
        steps: int,
        batch: int,
        runtime: Runtime,
    ) -> None:
        """Add the gradients at the places that these steps add to the last ones."""
        places, weights = _places(steps, first=not integrals[0].steps)
        targets = [one.target for one in integrals]
        sums = [torch.zeros_like(one.total) for one in integrals]
        for part in runtime.batches(self.about.title, len(places), batch):
            place, weight = (
                values[part.start : part.stop].to(start.device).view(-1, 1, 1, 1) for values in (places, weights)
            )
            points = (start + place.to(start) * integrals[0].way).requires_grad_()
            for total, found in zip(sums, gradients(model(points), points, targets), strict=True):
                total += (weight * found).sum(dim=0)
        for one, total in zip(integrals, sums, strict=True):
            one.refine(total, steps)

    def _notes(self, one: Integral) -> tuple[str, ...]:
        if one.error is None or one.error <= self.error:
            return ()
        return (
            f"After {one.steps} steps the attributions still miss {100 * one.error:.3g} % of the difference that they "
            "should add up to: raise integratedgradients.most_steps.",
        )


def _places(steps: int, *, first: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Return shares of the way and float64 weights: of all places at first, then of those between the last ones."""
    if not first:
        return torch.arange(1, steps, 2, dtype=torch.float64) / steps, torch.ones(steps // 2, dtype=torch.float64)
    weights = torch.full((steps + 1,), 1 / steps, dtype=torch.float64)
    weights[[0, -1]] /= 2
    return torch.linspace(0, 1, steps + 1, dtype=torch.float64), weights
