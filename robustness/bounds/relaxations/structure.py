"""Operators that move numbers, repeat them or leave them out."""

from __future__ import annotations

from typing import Any

import torch

from xai.robustness.bounds.relaxations.base import About, Call, Made, Rule, Value

_STRUCTURE = (
    "alias",
    "cat",
    "channel_shuffle",
    "clone",
    "concat",
    "contiguous",
    "detach",
    "dropout",
    "expand",
    "feature_dropout",
    "flatten",
    "flip",
    "index_select",
    "lift_fresh_copy",
    "movedim",
    "permute",
    "pixel_shuffle",
    "pixel_unshuffle",
    "repeat",
    "reshape",
    "roll",
    "select",
    "slice",
    "squeeze",
    "stack",
    "t",
    "transpose",
    "unflatten",
    "unsqueeze",
    "view",
    "_unsafe_view",
)


class StructureRule(Rule):
    """Reshapes, permutations, slices, joins."""

    about = About(
        name="structure",
        operators=_STRUCTURE,
        interval="exact",
        linear="exact",
        rounding="none",
    )

    def lower(self, call: Call) -> Made:
        """Add one step; what becomes of the numbers is left to the operator itself."""
        if call.arguments.get("train"):
            raise call.refused("it draws random numbers")
        name = next(name for name, argument in call.arguments.items() if _holds(argument))
        parts = call[name] if isinstance(call[name], list | tuple) else [call[name]]
        values = [part for part in parts if isinstance(part, Value)]

        def function(*x: torch.Tensor) -> torch.Tensor:
            taken = iter(x)
            filled = [next(taken) if isinstance(part, Value) else part.to(x[0].dtype) for part in parts]
            found: torch.Tensor = call.run({name: filled if isinstance(call[name], list | tuple) else filled[0]})
            return found

        return call.build.arrange(function, *values, alone=True)


class PartsRule(Rule):
    """Operators that give several parts of a value."""

    about = About(
        name="parts",
        operators=("chunk", "split", "split_with_sizes", "tensor_split", "unbind"),
        interval="exact",
        linear="exact",
        rounding="none",
    )

    def lower(self, call: Call) -> Made:
        """Add a step for each part."""
        x = call.value("self")
        count = len(call.run({"self": torch.empty(x.shape)}))
        return tuple(
            call.build.arrange(lambda value, i=i: call.run({"self": value})[i], x, alone=True) for i in range(count)
        )


class PadRule(Rule):
    """Padding: with a constant, or with the numbers at the edge."""

    about = About(
        name="padding",
        operators=(
            "constant_pad_nd",
            "pad",
            "reflection_pad1d",
            "reflection_pad2d",
            "replication_pad1d",
            "replication_pad2d",
        ),
        interval="exact",
        linear="exact",
        rounding="none",
    )

    def lower(self, call: Call) -> Made:
        """Add one step."""
        x = call.value("self" if "self" in call.arguments else "input")
        name = "self" if "self" in call.arguments else "input"
        return call.build.arrange(lambda value: call.run({name: value}), x, alone=True)


class IndexRule(Rule):
    """Numbers picked by constant indices."""

    about = About(name="index", operators=("index", "gather"), interval="exact", linear="exact", rounding="none")

    def lower(self, call: Call) -> Made:
        """Add one step; indices that depend on the input are refused."""
        if _holds(call.arguments.get("indices")) or _holds(call.arguments.get("index")):
            raise call.refused("indices that depend on the input")
        return call.build.arrange(lambda value: call.run({"self": value}), call.value("self"), alone=True)


def _holds(argument: Any) -> bool:
    return isinstance(argument, Value) or (isinstance(argument, list | tuple) and any(map(_holds, argument)))
