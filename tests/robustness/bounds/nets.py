"""Networks, regions and points for tests of bounds."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import nn

from xai.errors import NotApplicableError
from xai.models.card import Input
from xai.models.export import InputUnits, trace
from xai.models.graph import Graph
from xai.robustness.bounds.analysis import Analysis
from xai.robustness.bounds.inputs import Inputs
from xai.robustness.bounds.interval import Interval
from xai.robustness.bounds.methods.base import bounders
from xai.robustness.bounds.program import Program, program
from xai.robustness.bounds.rounding import Arithmetic, Rounding
from xai.robustness.norms import Norm, random_in_ball, shrink


def lowered(net: nn.Module, shape: Sequence[int]) -> tuple[Graph, Program]:
    """Return a network's graph and its steps."""
    graph = trace(InputUnits(net.eval(), Input(shape=tuple(shape))), torch.device("cpu"))
    return graph, program(graph, torch.full((1, *shape), 0.5))


def box_of(x: torch.Tensor, *epsilon: float) -> Inputs:
    """Return the boxes around inputs (batch, ...), one or one each."""
    centre = x.double()[:, None]
    reach = torch.tensor(epsilon, dtype=torch.float64).reshape(-1, *(1,) * x.ndim)
    return Inputs(Interval(centre - reach, centre + reach), centre)


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


def ball_of(x: torch.Tensor, radius: float, norm: Norm) -> Inputs:
    """Return the balls around inputs (batch, ...), clipped to the range from 0 to 1."""
    centre = x.double()[:, None]
    box = Interval((centre - radius).clamp(min=0), (centre + radius).clamp(max=1))
    return Inputs(box, centre, norm, torch.full((len(x),), radius, dtype=torch.float64))


def points_in(inputs: Inputs, count: int, seed: int = 0) -> torch.Tensor:
    """Return random points and corners (count, batch, ...) float64 of boxes; of balls points and what is clipped."""
    generator = torch.Generator().manual_seed(seed)
    like = torch.empty((count, *inputs.centre.shape), dtype=torch.float64)
    if inputs.radius is not None:
        drawn = random_in_ball(like.flatten(0, 1), float(inputs.radius[0]), inputs.norm, generator).reshape(like.shape)
        return inside(inputs, (inputs.centre + drawn).flatten(1, 2))
    drawn = torch.rand(like.shape, generator=generator, dtype=torch.float64)
    drawn[1::2] = (drawn[1::2] > 0.5).double()
    return (inputs.box.lower + drawn * inputs.box.width).minimum(inputs.box.upper).flatten(1, 2)


def inside(inputs: Inputs, points: torch.Tensor) -> torch.Tensor:
    """Return points (count, batch, ...) moved into the region."""
    lower, upper, centre = (part.flatten(0, 1) for part in (inputs.box.lower, inputs.box.upper, inputs.centre))
    if inputs.radius is not None:
        change = (points - centre).flatten(0, 1)
        radius = inputs.radius.repeat(len(points)) * (1 - 1e-9)
        points = centre + shrink(change, radius, inputs.norm).reshape(points.shape)
    return points.maximum(lower).minimum(upper)


def single(inputs: Inputs, points: torch.Tensor) -> torch.Tensor:
    """Return points (count, batch, ...) of a region rounded to float32, so that they lie in its box."""
    lower, upper = inputs.box.lower.flatten(0, 1), inputs.box.upper.flatten(0, 1)
    infinity = torch.tensor(torch.inf)
    rounded = points.float()
    rounded = torch.where(rounded < lower, torch.nextafter(rounded, infinity), rounded)
    return torch.where(rounded > upper, torch.nextafter(rounded, -infinity), rounded)


def attacked(net: nn.Module, inputs: Inputs, steps: int = 12) -> torch.Tensor:
    """Return points (count, batch, ...) at which a float64 network's outputs are far down or up, by PGD."""
    centre = inputs.centre.flatten(0, 1)
    outputs = net(centre).shape[1]
    wanted = torch.cat([torch.eye(outputs), -torch.eye(outputs)]).double()
    points = centre.expand(len(wanted), *centre.shape).clone()
    for step in range(steps):
        points.requires_grad_()
        found = net(points.flatten(0, 1)).unflatten(0, points.shape[:2])
        (gradient,) = torch.autograd.grad((found * wanted[:, None]).sum(), points)
        reach = inputs.box.width.flatten(0, 1) / 2 * 0.8**step
        points = inside(inputs, points.detach() + reach * gradient.sign())
    return points


def rounding_is_known(steps: Program) -> bool:
    """Say whether bounds of the network in float32 are not refused."""
    try:
        steps.needs(Arithmetic.FLOAT)
    except NotApplicableError:
        return False
    return True


def assert_sound(net: nn.Module, steps: Program, inputs: Inputs, methods: Sequence[str] = ()) -> None:
    """Assert that no sampled, cornered or attacked point of a region lies outside any method's bounds.

    Args:
        net: in float32, for evaluation.
        steps: of the network.
        inputs: the region.
        methods: all if empty.
    """
    double = copy.deepcopy(net).double()
    points = torch.cat([points_in(inputs, 100), attacked(double, inputs)])
    with torch.no_grad():
        outputs = {Arithmetic.REAL: double(points.flatten(0, 1)).unflatten(0, points.shape[:2])}
        if rounding_is_known(steps):
            rounded = single(inputs, points)
            outputs[Arithmetic.FLOAT] = torch.cat(
                [net(rounded.flatten(0, 1)).unflatten(0, points.shape[:2]), net(rounded[-1])[None]]
            ).double()
    for arithmetic, found in outputs.items():
        for method in methods or bounders.all():
            bounds = output_bounds(steps, inputs, method, arithmetic)
            lower, upper = bounds.lower.expand_as(found), bounds.upper.expand_as(found)
            assert not bool(lower.isnan().any() | upper.isnan().any())
            number = ~found.isnan()
            assert bool((found >= lower)[number].all()), f"{method}, {arithmetic}: below the lower bound"
            assert bool((found <= upper)[number].all()), f"{method}, {arithmetic}: above the upper bound"
            assert bool((upper - lower)[~number].isinf().all()), (
                f"{method}, {arithmetic}: bounds of what is not a number"
            )
