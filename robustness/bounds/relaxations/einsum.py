"""Products of two tensors that are written with letters."""

from __future__ import annotations

import torch

from xai.robustness.bounds.affine import Weighing
from xai.robustness.bounds.product import Contraction
from xai.robustness.bounds.relaxations.base import About, Call, Made, Rule, Value


class EinsumRule(Rule):
    """einsum of one or two tensors."""

    about = About(
        name="einsum",
        operators=("einsum",),
        interval="middle and radius",
        linear="exact with a constant; McCormick's planes between two values of the network",
        rounding="a sum of as many products as the letters that are summed have places, in any order",
    )

    def lower(self, call: Call) -> Made:
        """Add one step."""
        equation, parts = call["equation"], list(call["tensors"])
        if "." in equation or len(parts) > 2:
            raise call.refused("dots, or more than two tensors")
        places = _places(equation, [tuple(part.shape) for part in parts])

        def function(*x: torch.Tensor) -> torch.Tensor:
            return torch.einsum(equation, *x)

        if len(parts) == 1:
            return call.build.arrange(function, *parts, terms=places)
        if all(isinstance(part, Value) for part in parts):
            return call.build.add(Contraction(function, places), *parts)
        first = isinstance(parts[0], Value)
        value, constant = parts if first else parts[::-1]
        turned = function if first else lambda x, weight: function(weight, x)
        return call.build.add(Weighing(turned, value.shape, constant, places), value)


def _places(equation: str, shapes: list[tuple[int, ...]]) -> int:
    """Return how many products make an output."""
    inputs, _, output = equation.replace(" ", "").partition("->")
    sizes = {
        letter: size
        for letters, shape in zip(inputs.split(","), shapes, strict=True)
        for letter, size in zip(letters, shape, strict=True)
    }
    summed = [size for letter, size in sizes.items() if letter not in output] if output else list(sizes.values())
    return int(torch.tensor([1, *summed]).prod())
