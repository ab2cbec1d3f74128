"""The table of ONNX's operators, and what their functions are given.

A function is called as `function(node, *inputs)`. Inputs that are data come as tensors (None where they are left
out); those that say how (a shape, axes, bounds) come as arrays of numpy, whose numbers may be symbolic sizes.
"""

from __future__ import annotations

import importlib
import math
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeAlias

import numpy as np
import torch

from xai.errors import RefusedFileError

Dims: TypeAlias = np.ndarray  # of int64, bool or float; of objects where sizes are symbolic
Value: TypeAlias = torch.Tensor | Dims | None
Function = Callable[..., Any]

MAX_NUMBERS = 2**26  # of one value made from a shape: 256 MiB of float32


class UnsupportedError(Exception):
    """A node cannot be computed here; the message says which and why."""


@dataclass(frozen=True)
class Node:
    """One node of an ONNX graph.

    Args:
        kind: its operator.
        name: as in the file, "" if it has none.
        opset: version of the operator set that it is read by.
        attributes: by name; tensors as arrays.
        inputs: names of values, "" where one is left out.
        outputs: names of values.
    """

    kind: str
    name: str
    opset: int
    attributes: dict[str, Any] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Any:
        """Return an attribute that must be there."""
        if name not in self.attributes:
            raise UnsupportedError(f"its attribute {name!r} is missing")
        return self.attributes[name]

    def get(self, name: str, default: Any = None) -> Any:
        """Return an attribute, or its default."""
        return self.attributes.get(name, default)


_table: dict[tuple[str, str], Function] = {}
_how: dict[str, frozenset[int]] = {}


def operator(*kinds: str, how: Sequence[int] = (), domain: str = "") -> Callable[[Function], Function]:
    """Enter a function into the table.

    Args:
        kinds: operators that it computes.
        how: places of inputs that say how, and come as arrays.
        domain: of the operators; "" is ONNX's own.
    """

    def enter(function: Function) -> Function:
        for kind in kinds:
            _table[domain, kind] = function
            _how[kind] = frozenset(how)
        return function

    return enter


@cache
def table() -> dict[tuple[str, str], Function]:
    """Return the functions by domain and operator."""
    package = importlib.import_module("xai.models.onnx.operators")
    for entry in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{entry.name}")
    return _table


def says_how(kind: str, place: int) -> bool:
    """Say whether an operator's input at a place says how; it is no data then."""
    table()
    return place in _how.get(kind, ())


def ints(value: Value) -> list[Any]:
    """Return whole numbers, symbolic ones included; raise UnsupportedError if they are only known when the net runs."""
    if isinstance(value, torch.Tensor) or value is None:
        raise UnsupportedError("a shape, axis or bound depends on the values of the input")
    return [item if isinstance(item, torch.SymInt) else int(item) for item in np.asarray(value).reshape(-1).tolist()]


def number(value: Value, default: float) -> float:
    """Return one number that says how."""
    if value is None:
        return default
    if isinstance(value, torch.Tensor):
        raise UnsupportedError("a bound depends on the values of the input")
    return float(np.asarray(value).reshape(-1)[0])


def axes_of(node: Node, given: Value, rank: int) -> list[int] | None:
    """Return the axes that an attribute or an input names, counted from the front; None if none is named."""
    named = node.get("axes") if given is None else ints(given)
    return None if named is None else [axis_of(axis, rank) for axis in named]


def axis_of(axis: int, rank: int) -> int:
    """Return an axis counted from the front; raise UnsupportedError if there is none of that number."""
    if not -rank <= axis < max(rank, 1):
        raise UnsupportedError(f"there is no axis {axis} of {rank}")
    return axis % rank if rank else 0


def check_size(shape: Sequence[Any]) -> None:
    """Raise RefusedFileError if a value of that shape would be absurdly large; symbolic sizes count as one."""
    if math.prod(size for size in shape if isinstance(size, int)) > MAX_NUMBERS:
        raise RefusedFileError(f"it makes a value of shape {list(shape)}, more than {MAX_NUMBERS} numbers")
