"""The largest or smallest number of an axis, and of two values."""

from __future__ import annotations

import torch

from xai.robustness.bounds.affine import Scale
from xai.robustness.bounds.elementwise import Rectifier
from xai.robustness.bounds.maximum import Gather, Maximum
from xai.robustness.bounds.operation import Part
from xai.robustness.bounds.relaxations.base import About, Call, Made, Rule, Unbounded, Value

MINUS = torch.tensor(-1.0)
LINEAR = "as max-pooling's; for the smallest number that of the negative"


class AlongAxisRule(Rule):
    """The largest or smallest number along axes."""

    about = About(
        name="extremum",
        operators=("amax", "amin", "max", "min"),
        interval="exact",
        linear=LINEAR,
        rounding="none",
    )

    def lower(self, call: Call) -> Made:
        """Add one step, and two that change signs for the smallest."""
        if "other" in call.arguments:
            return _of_two(call)
        x, sign = call.value("self"), -1 if "min" in call.operator else 1
        if "dim" not in call.arguments:
            return _signed(call, sign, _largest(call, _signed(call, sign, x), list(range(len(x.shape))), keep=False))
        axes = call["dim"] if isinstance(call["dim"], list | tuple) else [call["dim"]]
        axes = sorted(axis % len(x.shape) for axis in axes) or list(range(len(x.shape)))
        found = _signed(call, sign, _largest(call, _signed(call, sign, x), axes, keep=call["keepdim"]))
        return found if call.operator in ("amax", "amin") else (found, Unbounded())


class OfTwoRule(Rule):
    """The larger or smaller of two values, number by number."""

    about = About(
        name="larger of two",
        operators=("maximum", "minimum", "fmax", "fmin"),
        interval="exact",
        linear=f"{LINEAR}; with a constant as ReLU's",
        rounding="none",
    )

    def lower(self, call: Call) -> Made:
        """Join the two and add one step, or shift by a constant and rectify."""
        return _of_two(call)


def _of_two(call: Call) -> Value:
    sign = -1 if "min" in call.operator else 1
    x, y = call["self"], call["other"]
    if not isinstance(x, Value):
        x, y = y, x
    shape = torch.broadcast_shapes(x.shape, y.shape)
    if isinstance(y, Value):
        joined = call.build.arrange(
            lambda *both: torch.stack([sign * one.expand(shape) for one in both], -1), x, y, signs=(sign, sign)
        )
        return _signed(call, sign, _largest(call, joined, [len(shape)], keep=False))
    repeated = call.build.arrange(lambda value: value.expand(shape), x, alone=True)
    shift, back = Scale(torch.tensor(float(sign)), -sign * y), Scale(torch.tensor(float(sign)), y)
    excess = call.build.add(Rectifier(torch.tensor(0.0)), call.build.add(Part(shift), repeated))
    return call.build.add(Part(back), excess)


def _signed(call: Call, sign: int, value: Value) -> Value:
    return value if sign > 0 else call.build.add(Scale(MINUS, terms=0), value)


def _largest(call: Call, value: Value, axes: list[int], *, keep: bool) -> Value:
    return call.build.add(Maximum(_gather(axes, keep), value.shape), value)


def _gather(axes: list[int], keep: bool) -> Gather:
    def gather(numbers: torch.Tensor) -> torch.Tensor:
        last = numbers.movedim(axes, list(range(-len(axes), 0))).flatten(-len(axes))
        for axis in axes if keep else ():
            last = last.unsqueeze(axis)
        return last

    return gather
