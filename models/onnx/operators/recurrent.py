"""Recurrent layers."""

from __future__ import annotations

import torch
from torch import Tensor

from xai.models.onnx.operators.base import Node, UnsupportedError, operator
from xai.models.recurrent import check

Rest = tuple[list[Tensor], bool, int, float, bool, bool, bool]

_DEFAULTS = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}
_ORDER = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2), "RNN": (0,)}  # torch's gates among ONNX's: i f c o | r z h


@operator("LSTM")
def lstm(
    node: Node,
    x: Tensor,
    weight: Tensor,
    recurrent: Tensor,
    bias: Tensor | None = None,
    lengths: Tensor | None = None,
    hidden: Tensor | None = None,
    cell: Tensor | None = None,
    peephole: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Long short-term memory over time."""
    _check(node, lengths)
    if peephole is not None or node.get("input_forget", 0):
        raise UnsupportedError("peepholes or input_forget")
    start = (_start(node, x, hidden), _start(node, x, cell))
    rest = _rest(node, weight, recurrent, bias)
    _check_shapes(node, x, start, rest)
    values, last, memory = torch.lstm(x, start, *rest)
    return _by_direction(node, values), last, memory


@operator("GRU", "RNN")
def gru(
    node: Node,
    x: Tensor,
    weight: Tensor,
    recurrent: Tensor,
    bias: Tensor | None = None,
    lengths: Tensor | None = None,
    hidden: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """A gated or plain recurrence over time."""
    _check(node, lengths)
    if node.kind == "GRU" and not node.get("linear_before_reset", 0):
        raise UnsupportedError("linear_before_reset is 0")
    function = torch.gru if node.kind == "GRU" else torch.rnn_tanh
    start, rest = _start(node, x, hidden), _rest(node, weight, recurrent, bias)
    _check_shapes(node, x, (start,), rest)
    values, last = function(x, start, *rest)
    return _by_direction(node, values), last


def _check(node: Node, lengths: Tensor | None) -> None:
    """Refuse what torch's layers do not have."""
    directions = 2 if node.get("direction", "forward") == "bidirectional" else 1
    wanted = _DEFAULTS[node.kind] * directions
    if [name.lower() for name in node.get("activations", wanted)] != [name.lower() for name in wanted]:
        raise UnsupportedError(f"activations {node['activations']}")
    if lengths is not None or node.get("layout", 0) or node.get("clip") or node.get("direction") == "reverse":
        raise UnsupportedError("lengths of sequences, layout, clip or the reverse direction alone")


def _check_shapes(node: Node, x: Tensor, states: tuple[Tensor, ...], rest: Rest) -> None:
    """Refuse shapes that do not fit: torch's kernels trust them."""
    weights, biased, layers, _, _, both_ways, batch_first = rest
    try:
        check(x, states, weights, len(_ORDER[node.kind]), biased, layers, both_ways, batch_first)
    except ValueError as error:
        raise UnsupportedError(str(error)) from error
    if states[0].shape[-1] != node["hidden_size"]:
        raise UnsupportedError(f"hidden_size is {node['hidden_size']}, and the weights are for {states[0].shape[-1]}")


def _start(node: Node, x: Tensor, state: Tensor | None) -> Tensor:
    """Return the state before the first step, one for each input."""
    directions = 2 if node.get("direction", "forward") == "bidirectional" else 1
    if state is None:
        return x.new_zeros(directions, x.shape[1], node["hidden_size"])
    alone = state.ndim == 3 and state.shape[0] == directions and state.shape[1] == 1
    return state.expand(directions, x.shape[1], state.shape[-1]) if alone else state


def _rest(node: Node, weight: Tensor, recurrent: Tensor, bias: Tensor | None) -> Rest:
    """Return what torch's layers take behind the state: weights, whether biased, layers, dropout and so on."""
    found: list[Tensor] = []
    for direction in range(weight.shape[0]):
        both = [weight[direction], recurrent[direction]]
        both += list(bias[direction].chunk(2)) if bias is not None else []
        found += [_reordered(node.kind, tensor) for tensor in both]
    return found, bias is not None, 1, 0.0, False, weight.shape[0] == 2, False


def _reordered(kind: str, tensor: Tensor) -> Tensor:
    order = _ORDER[kind]
    gates = tensor.chunk(len(order))
    return torch.cat([gates[place] for place in order])


def _by_direction(node: Node, values: Tensor) -> Tensor:
    """Return (time, batch, directions x hidden) as (time, directions, batch, hidden)."""
    steps, batch, width = values.shape
    hidden = node["hidden_size"]
    return values.reshape(steps, batch, width // hidden, hidden).transpose(1, 2)
