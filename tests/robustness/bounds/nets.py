"""Networks, regions and points for tests of bounds."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

import xai
from xai.models.graph import Graph
from xai.robustness.bounds.analysis import Analysis
from xai.robustness.bounds.inputs import Inputs
from xai.robustness.bounds.interval import Interval
from xai.robustness.bounds.methods.base import bounders
from xai.robustness.bounds.program import Program, program
from xai.robustness.bounds.rounding import Arithmetic, Rounding


def lowered(net: nn.Module, shape: Sequence[int]) -> tuple[Graph, Program]:
    """Return a network's graph and its steps."""
    model = xai.load(net.eval(), example=torch.rand(1, *shape))
    assert model.graph is not None
    return model.graph, program(model.graph, torch.full((1, *shape), 0.5))


def box_of(x: torch.Tensor, epsilon: float) -> Inputs:
    """Return the boxes around inputs (batch, ...)."""
    centre = x.double()[:, None]
    return Inputs(Interval(centre - epsilon, centre + epsilon), centre)


def output_bounds(
    steps: Program, inputs: Inputs, method: str = "crown", arithmetic: Arithmetic = Arithmetic.REAL
) -> Interval:
    """Return bounds (batch, outputs) float64 of every output, by its rows alone."""
    bounder = bounders.get(method)()
    analysis = Analysis(steps.steps, inputs, Rounding(arithmetic, bounder.dtype))
    with torch.no_grad():
        bounder.prepare(analysis, steps.output)
        shape = steps.steps[steps.output].shape
        count = torch.Size(shape).numel()
        rows = torch.eye(count, dtype=torch.float64).reshape(count, 1, *shape).expand(count, len(inputs), *shape)
        lower, upper = bounder.lowest(analysis, steps.output, rows), -bounder.lowest(analysis, steps.output, -rows)
    return Interval(lower.T, upper.T)


def points_in(inputs: Inputs, count: int, seed: int = 0) -> torch.Tensor:
    """Return random points and corners (count, batch, ...) float64 of boxes."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.rand((count, *inputs.centre.shape), generator=generator, dtype=torch.float64)
    drawn[1::2] = (drawn[1::2] > 0.5).double()
    return (inputs.box.lower + drawn * inputs.box.width).minimum(inputs.box.upper).flatten(1, 2)
