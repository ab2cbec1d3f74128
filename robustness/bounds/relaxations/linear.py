"""Matrices: linear layers, and matrix products with one or two values of the network."""

from __future__ import annotations

import torch

from xai.robustness.bounds.affine import Linear
from xai.robustness.bounds.product import MatrixProduct
from xai.robustness.bounds.relaxations.base import About, Call, Made, Rule, Value


class LinearRule(Rule):
    """Linear layers."""

    about = About(
        name="linear",
        operators=("linear", "addmm"),
        interval="middle and radius, the radius with the weights' sizes",
        linear="exact",
        rounding="a sum of as many products as there are inputs, in any order",
    )

    def lower(self, call: Call) -> Made:
        """Add one step."""
        if call.operator == "linear":
            return call.build.add(Linear(call.constant("weight"), call["bias"]), call.value("input"))
        if call["alpha"] != 1 or call["beta"] != 1:
            raise call.refused("alpha and beta other than 1")
        return call.build.add(Linear(call.constant("mat2").mT, call.constant("self")), call.value("mat1"))


class MatrixRule(Rule):
    """Matrix products."""

    about = About(
        name="matrix product",
        operators=("matmul", "mm", "bmm"),
        interval="middle and radius",
        linear="exact with a constant; McCormick's planes between two values of the network",
        rounding="a sum of as many products as the inner axis is long, in any order",
    )

    def lower(self, call: Call) -> Made:
        """Add one step, and one that repeats axes where the two differ."""
        x, y = call["self"], call["mat2" if call.operator in ("mm", "bmm") else "other"]
        if isinstance(x, Value) and isinstance(y, Value):
            return self._of_two(call, x, y)
        if isinstance(x, Value):
            x = _spread(call, x, torch.broadcast_shapes(x.shape[:-2], y.shape[:-2]))
            if y.ndim == 1:
                column = call.build.add(Linear(y[None], None), x)
                return call.build.arrange(lambda value: value.squeeze(-1), column, alone=True)
            return call.build.add(Linear(y.mT, None), x)
        if x.ndim == 1:
            raise call.refused("a product with a vector")
        y = _spread(call, y, torch.broadcast_shapes(x.shape[:-2], y.shape[:-2]))
        flipped = call.build.arrange(lambda value: value.mT, y, alone=True)
        product = call.build.add(Linear(x, None), flipped)
        return call.build.arrange(lambda value: value.mT, product, alone=True)

    def _of_two(self, call: Call, x: Value, y: Value) -> Made:
        if min(len(x.shape), len(y.shape)) < 2:
            raise call.refused("a product with a vector")
        lead = torch.broadcast_shapes(x.shape[:-2], y.shape[:-2])
        first, second = (_spread(call, value, lead) for value in (x, y))
        return call.build.add(MatrixProduct(x.shape[-1]), first, second)


def _spread(call: Call, value: Value, lead: torch.Size) -> Value:
    """Return a value with its axes but the last two repeated to those."""
    shape = (*lead, *value.shape[-2:])
    return value if value.shape == shape else call.build.arrange(lambda x: x.expand(shape), value, alone=True)
