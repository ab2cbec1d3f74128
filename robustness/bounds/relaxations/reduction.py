"""Sums along axes, and what is made of them: means, variances, norms."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from xai.robustness.bounds.affine import Arranged, Scale
from xai.robustness.bounds.curve import Curve
from xai.robustness.bounds.elementwise import Elementwise
from xai.robustness.bounds.functions import ABSOLUTE, SQRT, SQUARE
from xai.robustness.bounds.operation import Part
from xai.robustness.bounds.relaxations.base import About, Call, Made, Rule, Value
from xai.robustness.bounds.standard import Centred


class SumAlongRule(Rule):
    """Sums and means."""

    about = About(
        name="sum along axes",
        operators=("sum", "mean", "cumsum"),
        interval="exact",
        linear="exact",
        rounding="as many as there are numbers in a sum, and two, in any order",
    )

    def lower(self, call: Call) -> Made:
        """Add one step."""
        if call.arguments.get("dtype") not in (None, torch.float32):
            raise call.refused(f"sums in {call['dtype']}")
        x = call.value("self")
        found = call.run({"self": torch.zeros(x.shape)})
        numbers = x.shape[call["dim"]] if call.operator == "cumsum" else math.prod(x.shape) // max(found.numel(), 1)
        run = {"dtype": None}
        return call.build.arrange(lambda value: call.run({"self": value, **run}), x, terms=numbers + 2)


class SpreadRule(Rule):
    """Variances, standard deviations and norms."""

    about = About(
        name="spread",
        operators=("var", "std", "linalg_vector_norm"),
        interval="square, sum and root, each exact",
        linear="as of their steps",
        rounding="not known",
    )

    def lower(self, call: Call) -> Made:
        """Add squares or sizes, their sum, and the root."""
        x = call.value("self")
        axes = call["dim"] if call["dim"] is not None else list(range(len(x.shape)))
        axes = [axis % len(x.shape) for axis in (axes if isinstance(axes, list | tuple) else [axes])]
        if call.operator == "linalg_vector_norm":
            order = float(call["ord"])
            if order not in (1.0, 2.0):
                raise call.refused(f"a norm of order {order:g}")
            flat = call.build.arrange(_gathered(axes), x, alone=True)
            found = self._summed(call, flat, SQUARE if order == 2 else ABSOLUTE, 1.0, root=order == 2)
            return self._shaped(call, found)
        numbers = math.prod(x.shape[axis] for axis in axes)
        correction = call.arguments.get("correction", int(call.arguments.get("unbiased", True)))
        correction = 1 if correction is None else correction
        if numbers <= correction:
            raise call.refused("the spread of too few numbers")
        centred = call.build.add(Centred(numbers), call.build.arrange(_gathered(axes), x, alone=True))
        found = self._summed(call, centred, SQUARE, 1 / (numbers - correction), root=call.operator == "std")
        return self._shaped(call, found)

    def _summed(self, call: Call, x: Value, curve: Curve, factor: float, *, root: bool) -> Value:
        """Return the sum of a curve along the last axis, times a factor, and its root."""
        sizes = call.build.add(Elementwise(curve), x)
        found = call.build.arrange(lambda value: value.sum(-1), sizes, terms=x.shape[-1])
        found = call.build.add(Scale(torch.tensor(factor, dtype=torch.float64)), found)
        return call.build.add(Elementwise(SQRT), found) if root else found

    def _shaped(self, call: Call, value: Value) -> Value:
        """Return a value in the shape that the operator gives, of unknown rounding."""
        shape = call.run({"self": torch.zeros(call.value("self").shape)}).shape
        shaped = Arranged(lambda x: x.reshape(shape), [value.shape], alone=True)
        return call.build.add(Part(shaped, None), value)


def _gathered(axes: list[int]) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return what moves some axes to the end and makes them one."""
    return lambda x: x.movedim(axes, list(range(-len(axes), 0))).flatten(-len(axes))
