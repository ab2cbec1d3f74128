"""Recurrent operators of torch, which trust the shapes that they are given: wrong ones corrupt the memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeGuard

import torch

GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}


def is_recurrent(target: object) -> TypeGuard[torch._ops.OpOverload]:
    """Say whether an operator is one of them."""
    return isinstance(target, torch._ops.OpOverload) and target._schema.name.removeprefix("aten::") in GATES


def check_call(target: torch._ops.OpOverload, args: Sequence[Any]) -> None:
    """Raise ValueError if the shapes of a call do not fit; only the form for plain sequences is known here."""
    name = target._schema.name.removeprefix("aten::")
    if target._overloadname != "input" or len(args) < 9:
        raise ValueError(f"aten.{name} for packed sequences is not run here")
    states = args[1] if name == "lstm" else [args[1]]
    check(args[0], states, args[2], GATES[name], bool(args[3]), int(args[4]), bool(args[7]), bool(args[8]))


def check(
    x: torch.Tensor,
    states: Sequence[torch.Tensor],
    weights: Sequence[torch.Tensor],
    gates: int,
    biased: bool,
    layers: int,
    both_ways: bool,
    batch_first: bool,
) -> None:
    """Raise ValueError if the shapes of a recurrent layer do not fit.

    Args:
        x: (time, batch, features), or (batch, time, features) if batch_first.
        states: before the first step, each (layers x directions, batch, hidden).
        weights: of each layer and direction: input and recurrent weights, then their biases if there are any.
        gates: of a cell.
        biased: whether there are biases.
        layers: on top of each other.
        both_ways: whether each layer runs in both directions.
        batch_first: how x is laid out.
    """
    directions, each = 2 if both_ways else 1, 4 if biased else 2
    hidden = states[0].shape[-1]
    if x.ndim != 3 or layers < 1 or len(weights) != layers * directions * each:
        raise ValueError(f"a recurrent layer takes an input of {x.ndim} axes and {len(weights)} weights")
    state = (layers * directions, x.shape[0 if batch_first else 1], hidden)
    wanted: list[tuple[int, ...]] = [state] * len(states)
    for layer in range(layers):
        features = x.shape[2] if layer == 0 else directions * hidden
        one = [(gates * hidden, features), (gates * hidden, hidden), (gates * hidden,), (gates * hidden,)][:each]
        wanted += one * directions
    for tensor, shape in zip((*states, *weights), wanted, strict=True):
        if tuple(tensor.shape) != tuple(shape):
            raise ValueError(
                f"a recurrent layer takes a tensor of shape {tuple(tensor.shape)}; expected {tuple(shape)}"
            )
