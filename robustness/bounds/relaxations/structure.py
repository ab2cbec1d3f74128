"""Operators that move numbers, repeat them or leave them out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch

from xai.robustness.bounds.relaxations.base import About, Call, Made, Rule, Value

_STRUCTURE = (
    "cat",
    "channel_shuffle",
    "concat",
    "expand",
    "flatten",
    "flip",
    "index_select",
    "masked_fill",
    "movedim",
    "permute",
    "pixel_shuffle",
    "pixel_unshuffle",
    "repeat",
    "reshape",
    "roll",
    "select",
    "select_scatter",
    "slice",
    "slice_scatter",
    "squeeze",
    "stack",
    "t",
    "transpose",
    "tril",
    "triu",
    "unflatten",
    "unsqueeze",
    "view",
    "where",
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
        if _holds(call.arguments.get("condition")) or _holds(call.arguments.get("mask")):
            raise call.refused("a choice that depends on the input")
        values = [value for argument in call.arguments.values() for value in _values(argument)]

        def function(*x: torch.Tensor) -> torch.Tensor:
            taken = iter(x)
            found: torch.Tensor = call.run(
                {name: _filled(argument, taken, x[0].dtype) for name, argument in call.arguments.items()}
            )
            return found

        return call.build.arrange(function, *values, alone=True)


class CopyRule(Rule):
    """Copies in float32, and what only training makes a difference to."""

    about = About(
        name="copy",
        operators=(
            "_to_copy",
            "alias",
            "clone",
            "contiguous",
            "detach",
            "dropout",
            "feature_dropout",
            "lift_fresh_copy",
            "to",
        ),
        interval="exact",
        linear="exact",
        rounding="none",
    )

    def lower(self, call: Call) -> Made:
        """Add nothing; refuse another type of numbers, and what draws random ones."""
        if call.arguments.get("train"):
            raise call.refused("it draws random numbers")
        if call.arguments.get("dtype") not in (None, torch.float32):
            raise call.refused(f"numbers in {call['dtype']}")
        return call.value("self" if "self" in call.arguments else "input")


class ConstantRule(Rule):
    """Constants that only take their shape from a value."""

    about = About(
        name="constant",
        operators=(
            *(f"new_{what}" for what in ("zeros", "ones", "full")),
            *(f"{what}_like" for what in ("zeros", "ones", "full")),
        ),
        interval="exact",
        linear="exact",
        rounding="none",
    )

    def lower(self, call: Call) -> Made:
        """Return the constant."""
        constant: torch.Tensor = call.run({"self": torch.zeros(call.value("self").shape)})
        return constant


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


class WindowsRule(Rule):
    """Windows of an axis; windows as columns; and columns put back, added where they overlap."""

    about = About(
        name="windows",
        operators=("unfold", "im2col", "col2im"),
        interval="exact",
        linear="exact",
        rounding="none; for sums as many as windows overlap",
    )

    def lower(self, call: Call) -> Made:
        """Add one step."""
        if call.operator == "unfold":
            return call.build.arrange(_unfolded(call), call.value("self"), alone=True)
        places = math.prod(call["kernel_size"])
        options: dict[str, Any] = {"alone": True} if call.operator == "im2col" else {"terms": places}
        return call.build.arrange(lambda value: call.run({"self": value}), call.value("self"), **options)


def _unfolded(call: Call) -> Callable[[torch.Tensor], torch.Tensor]:
    shape = call.value("self").shape
    axis = call["dimension"] % len(shape)
    starts = torch.arange(0, shape[axis] - call["size"] + 1, call["step"])
    places = starts[:, None] + torch.arange(call["size"])

    def function(x: torch.Tensor) -> torch.Tensor:
        taken = x.index_select(axis, places.flatten())
        return taken.reshape(*shape[:axis], *places.shape, *shape[axis + 1 :]).movedim(axis + 1, -1)

    return function


def _holds(argument: Any) -> bool:
    return bool(_values(argument))


def _values(argument: Any) -> list[Value]:
    """Return the values of the network in an argument, in order."""
    if isinstance(argument, list | tuple):
        return [value for part in argument for value in _values(part)]
    return [argument] if isinstance(argument, Value) else []


def _filled(argument: Any, taken: Iterator[torch.Tensor], dtype: torch.dtype) -> Any:
    """Return an argument with tensors in place of values, and constants of the same type as they are."""
    if isinstance(argument, list | tuple):
        return [_filled(part, taken, dtype) for part in argument]
    if isinstance(argument, torch.Tensor) and argument.is_floating_point():
        return argument.to(dtype)
    return next(taken) if isinstance(argument, Value) else argument
