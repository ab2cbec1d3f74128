"""DeepLIFT."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import torch
from pydantic import Field
from torch.nn import functional as F

from xai.explainers.base import ROUNDING, Attribution, Attributor, account, gradients
from xai.models.fill import FILLS, Fill, check_fill, fill_colour, numbers
from xai.models.model import Model
from xai.models.modified import Bilinear, Call, Rules, along, posing
from xai.models.targets import Target
from xai.registry import Kind, Method, Need
from xai.runtime import Runtime

NEAR = 1e-3  # logarithms that are so near have the mean 1 - apart / 2 to seven digits


class Contrast(Rules):
    """Multipliers between two runs: what flows back times an input's difference is an output's difference.

    The first run, on the baseline, notes its values; the second makes the same calls in the same order and takes them.
    """

    def __init__(self) -> None:
        super().__init__()
        self._noted: deque[tuple[torch.Tensor, ...]] = deque()
        self._noting = True

    def compare(self) -> None:
        """Say that the next run is the second."""
        self._noting = False

    def reference(self, *values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return what these values were in the first run; in the first run note them."""
        if not self._noting:
            return self._noted.popleft()
        self._noted.append(tuple(value.detach() for value in values))
        return values

    def check(self, call: Call) -> None:
        """Raise NotApplicableError if what no gradient flows through differs between the runs: it would be left out."""
        constant = [tensor for tensor in call.tensors.values() if not tensor.requires_grad]
        for now, before in zip(constant, self.reference(*constant), strict=True):
            if now is not before and not torch.equal(now, before):
                raise call.refused("whose choice depends on the input")

    def function(self, x: torch.Tensor, y: torch.Tensor, at_zero: torch.Tensor | None = None) -> torch.Tensor:  # noqa: ARG002  # what counts is the baseline
        """Pass back the outputs' difference over the inputs': the rescale rule."""
        x0, y0 = self.reference(x, y)
        run = x - x0
        return along(x, y, run=run, rise=y - y0, far=run.abs() > ROUNDING * (x.abs() + x0.abs()))

    def product(self, multiply: Bilinear, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Each factor's difference times the mean of the other one."""
        a0, b0 = self.reference(a, b)
        means = [((now + before) / 2).detach() for now, before in ((a, a0), (b, b0))]
        return posing(multiply(a, b), multiply(a, means[1]) + multiply(means[0], b))

    def quotient(self, call: Call) -> torch.Tensor:
        """A product with the reciprocal."""
        divisor = call["other"]
        return self.multiplied(torch.mul, call["self"], self.function(divisor, divisor.reciprocal()))

    def log_softmax(self, x: torch.Tensor, axis: int) -> torch.Tensor:
        """The numbers less the logarithm of the sum of their exponentials, a weighted mean of them.

        The weights are the logarithmic means of both runs' shares: with these the differences add up exactly.
        """
        y = x.log_softmax(axis)
        (y0,) = self.reference(y)
        weights = _logarithmic_mean(y.detach(), y0)
        weights = weights / weights.sum(axis, keepdim=True)
        return posing(y, x - (weights * x).sum(axis, keepdim=True))

    def softmax(self, x: torch.Tensor, axis: int) -> torch.Tensor:
        """The exponential of the log-softmax."""
        y = self.log_softmax(x, axis)
        return self.function(y, y.exp())

    def standardised(self, x: torch.Tensor, axes: Sequence[int], eps: float) -> torch.Tensor:
        """Square, mean, one over the root, and a product in which the larger deviation scales the difference.

        A mean of both, as in other products, would give a flat baseline multipliers as large as one over its deviation.
        """
        mean = self.function(x, x.square()).mean(list(axes), keepdim=True) + eps
        factor = self.function(mean, mean.rsqrt())
        x0, factor0 = self.reference(x, factor)
        larger = (factor <= factor0).detach()
        steady, rest = torch.where(larger, factor, factor0), torch.where(larger, x0, x)
        return posing(x * factor, x * steady.detach() + rest.detach() * factor)

    def largest(self, call: Call) -> Any:
        """Pass the difference back to what was the largest in the run whose largest is larger: it changed as much."""
        if "pool" in call.name:
            return self._pooled(call)
        sign = -1 if "min" in call.name else 1
        if "other" in call.tensors:
            return sign * self._winner(sign * torch.stack(torch.broadcast_tensors(*call.tensors.values()), -1))
        x, made = sign * call["self"], call.run()
        axes = call.arguments.get("dim", [])
        axes = [axes] if isinstance(axes, int) else axes or list(range(x.ndim))
        last = x.movedim(axes, list(range(-len(axes), 0))).flatten(-len(axes))
        values = made if isinstance(made, torch.Tensor) else made[0]
        values = sign * self._winner(last).reshape(values.shape)
        return values if isinstance(made, torch.Tensor) else (values, made[1])

    def _pooled(self, call: Call) -> Any:
        x, axes = call["self"], int(call.name[call.name.index("pool") + 4])
        places = _places(call, x, axes)
        taken = self._chosen(x.flatten(-axes), places.flatten(-axes)).view(places.shape)
        return taken if len(call.operator._schema.returns) == 1 else (taken, places)

    def _winner(self, x: torch.Tensor) -> torch.Tensor:
        """Return the largest number along the last axis."""
        return self._chosen(x, x.argmax(-1, keepdim=True)).squeeze(-1)

    def _chosen(self, x: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        """Return the largest numbers (..., sets) of sets of numbers in x (..., n), given their places.

        In a flat baseline many are the largest but for rounding: then the difference goes where the input's largest is.
        """
        y = x.gather(-1, places)
        x0, y0, places0 = self.reference(x, y, places)
        rounding = ROUNDING * (y.abs() + y0.abs()).detach()
        own = (y.detach() >= y0) | (x0.gather(-1, places) >= y0 - rounding)
        winners = torch.where(own, places, places0)
        run = (x - x0).gather(-1, winners)
        return along(x.gather(-1, winners), y, run=run, rise=y - y0, far=run.abs() > rounding)


class DeepLift(Attributor):
    """Multipliers of the difference between an input and a baseline (Shrikumar et al. 2017), by the rescale rule."""

    about = Method(
        name="deeplift",
        title="DeepLIFT",
        summary=(
            "Shares out the difference between the outputs for the picture and for a baseline: each step of the model "
            "hands its difference on to its inputs in proportion to theirs."
        ),
        limits=(
            "All is counted from the baseline: pixels of its colour get 0, and another one gives another map. Two "
            "networks that compute the same in other steps may get other maps."
        ),
        source="Shrikumar et al. 2017, Learning Important Features Through Propagating Activation Differences",
        kind=Kind.HEURISTIC,
        needs=frozenset({Need.GRADIENTS, Need.GRAPH}),
    )
    signed = True
    unit = "share of the difference between the target's outputs"

    baseline: Fill = Field(default="image", description=f"colour of the baseline: {FILLS}")

    def check(self, model: Model) -> None:
        """Raise UsageError if the baseline does not fit."""
        check_fill(self.baseline, model.input, "deeplift.baseline")

    def attribute(
        self,
        model: Model,
        x: torch.Tensor,
        targets: Sequence[Target],
        runtime: Runtime,  # noqa: ARG002  # two forward passes need no batches
    ) -> list[Attribution]:
        """Run the baseline, then the input, and take each target's multipliers."""
        colour = fill_colour(self.baseline, x, model.input)
        start, inputs = (part[None].clone().requires_grad_() for part in (colour.expand_as(x), x))
        graph, rules = model.needed_graph(), Contrast()
        before = graph.run(start, {}, rules).detach()
        rules.compare()
        outputs = graph.run(inputs, {}, rules)
        found = []
        for target, multipliers in zip(targets, gradients(outputs, inputs, targets), strict=True):
            shares = ((inputs - start).detach() * multipliers)[0]
            values = account(float(shares.double().sum()), float(target(outputs.detach())), float(target(before)))
            found.append(Attribution(shares.sum(dim=0), chosen={"baseline colour": numbers(colour)}, values=values))
        return found


def _logarithmic_mean(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Return the logarithmic mean of two numbers that are given as their logarithms; of twice minus infinity 0."""
    larger, apart = torch.maximum(one, other), (one - other).abs()
    mean = larger.exp() * torch.where(apart > NEAR, -torch.expm1(-apart) / apart, 1 - apart / 2)
    return torch.where(larger > -math.inf, mean, 0)


def _places(call: Call, x: torch.Tensor, axes: int) -> torch.Tensor:
    """Return the place of each window's largest number in x, its last axes made one."""
    adaptive = call.name.startswith("adaptive")
    names = ("output_size",) if adaptive else ("kernel_size", "padding", "dilation", "ceil_mode")
    options = {name: call[name] for name in names} | ({} if adaptive else {"stride": call["stride"] or None})
    pool: Callable[..., Any] = getattr(F, f"{'adaptive_' * adaptive}max_pool{axes}d")
    places: torch.Tensor = pool(x, return_indices=True, **options)[1]
    return places
