"""Sums, differences, products and quotients, with constants and between branches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from xai.robustness.bounds.affine import Scale, Sum
from xai.robustness.bounds.elementwise import Elementwise
from xai.robustness.bounds.functions import RECIPROCAL, SQUARE
from xai.robustness.bounds.product import Times
from xai.robustness.bounds.relaxations.base import About, Call, Made, Rule, Value

MINUS = torch.tensor(-1.0)
ROUNDINGS = 4  # of a number times a constant that torch rounds, inverts and multiplies by


class SumRule(Rule):
    """Sums and differences."""

    about = About(
        name="sum",
        operators=("add", "sub", "rsub", "neg"),
        interval="exact",
        linear="exact",
        rounding="one rounding; two with a number that is not float32",
    )

    def lower(self, call: Call) -> Made:
        """Add one step for two values, or one that shifts by a constant."""
        if call.operator == "neg":
            return call.build.add(Scale(MINUS, terms=0), call.value("self"))
        x, y, alpha = call["self"], call["other"], call["alpha"]
        first, second = (-1, 1) if call.operator == "rsub" else (1, -1 if call.operator == "sub" else 1)
        if alpha != 1:
            if call.operator == "rsub":
                raise call.refused("alpha other than 1")
            y = _scaled(call, y, float(alpha))  # its rounding covers that of a sum in one step
        if isinstance(x, Value) and isinstance(y, Value):
            shape = torch.broadcast_shapes(x.shape, y.shape)
            return call.build.add(Sum((first, second)), repeated(call, x, shape), repeated(call, y, shape))
        if isinstance(x, Value):
            return _shifted(call, x, first, second * _tensor(y))
        return _shifted(call, y, second, first * _tensor(x))


class ProductRule(Rule):
    """Products and quotients."""

    about = About(
        name="product",
        operators=("mul", "div", "reciprocal"),
        interval="the four products of ends; where a divisor may be 0, nothing is known",
        linear="exact with a constant; McCormick's planes between two values, a divisor by its reciprocal",
        rounding="four at most for constants, which torch may round or invert first; else one for a product, two for "
        "a quotient",
    )

    def lower(self, call: Call) -> Made:
        """Add one step, or the reciprocal and a product."""
        if call.operator == "reciprocal":
            return call.build.add(Elementwise(RECIPROCAL), call.value("self"))
        x, y = call["self"], call["other"]
        if call.operator == "div":
            if call.arguments.get("rounding_mode"):
                raise call.refused("a quotient that is cut to an integer")
            y = call.build.add(Elementwise(RECIPROCAL), y) if isinstance(y, Value) else 1 / _tensor(y).double()
        if isinstance(x, Value) and isinstance(y, Value):
            if x.index == y.index:
                return call.build.add(Elementwise(SQUARE), x)
            shape = torch.broadcast_shapes(x.shape, y.shape)
            first, second = (repeated(call, value, shape) for value in (x, y))
            return call.build.add(Times(), first, second)
        return _scaled(call, x, y) if isinstance(x, Value) else _scaled(call, y, x)


def repeated(call: Call, value: Value, shape: torch.Size) -> Value:
    """Return a value with its axes repeated to a shape."""
    return value if value.shape == tuple(shape) else call.build.arrange(_expand(shape), value, alone=True)


def _expand(shape: torch.Size) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda tensor: tensor.expand(shape)


def _tensor(constant: Any) -> torch.Tensor:
    return constant if isinstance(constant, torch.Tensor) else torch.tensor(float(constant), dtype=torch.float64)


def _scaled(call: Call, value: Any, factor: Any) -> Value | torch.Tensor:
    if not isinstance(value, Value):
        product: torch.Tensor = _tensor(value).double() * factor
        return product
    factor = _tensor(factor)
    return call.build.add(
        Scale(factor, terms=ROUNDINGS), repeated(call, value, torch.broadcast_shapes(value.shape, factor.shape))
    )


def _shifted(call: Call, value: Value, sign: int, constant: torch.Tensor) -> Value:
    value = repeated(call, value, torch.broadcast_shapes(value.shape, constant.shape))
    return call.build.add(Scale(torch.tensor(float(sign)), constant, terms=2), value)
