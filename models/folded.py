"""Batch normalisation folded into the convolutions before it: the same outputs, but for rounding, in fewer steps."""

from __future__ import annotations

from operator import getitem

import torch
from torch import fx

from xai.models.graph import attribute

aten = torch.ops.aten
_NORMALISATION = aten._native_batch_norm_legit_no_training.default


def folded(module: fx.GraphModule) -> fx.GraphModule:
    """Return a graph whose convolutions do what batch normalisation does behind them; tensors are shared.

    A convolution that others read, too, stays as it is. Numbers are multiplied in double precision.
    """
    graph = fx.Graph()
    graph.output(graph.graph_copy(module.graph, {}))
    found = fx.GraphModule(module, graph)
    for number, node in enumerate(list(graph.nodes)):
        if node.target is _NORMALISATION and _follows_alone(node):
            _fold(found, node, f"folded_{number}")
    graph.eliminate_dead_code()
    found.recompile()
    return found


def _follows_alone(node: fx.Node) -> bool:
    """Say whether a normalisation alone reads a convolution whose numbers are the network's own, and gives one map."""
    source, *numbers = (one for one in node.args[:5] if one is not None)
    if not (isinstance(source, fx.Node) and source.target is aten.conv2d.default and len(source.users) == 1):
        return False
    own = [*numbers, *(one for one in source.args[1:3] if one is not None)]
    only_first = all(user.target is getitem and user.args[1] == 0 for user in node.users)
    return only_first and all(isinstance(one, fx.Node) and one.op == "get_attr" for one in own)


def _fold(module: fx.GraphModule, node: fx.Node, name: str) -> None:
    convolution = node.args[0]
    assert isinstance(convolution, fx.Node)
    kernel, bias, scale, shift, mean, variance = (
        attribute(module, str(one.target)).detach() if isinstance(one, fx.Node) else None
        for one in (convolution.args[1], convolution.args[2] if len(convolution.args) > 2 else None, *node.args[1:5])
    )
    assert kernel is not None
    assert mean is not None
    assert variance is not None
    times = (variance.double() + float(str(node.args[6]))).rsqrt() * (1.0 if scale is None else scale.double())
    offset = ((0.0 if bias is None else bias.double()) - mean.double()) * times
    offset = offset if shift is None else offset + shift.double()
    layout = torch.channels_last if kernel.device.type == "cpu" else torch.contiguous_format
    weight = (kernel.double() * times.view(-1, 1, 1, 1)).to(kernel.dtype).contiguous(memory_format=layout)
    module.register_buffer(f"{name}_weight", weight)
    module.register_buffer(f"{name}_bias", offset.to(kernel.dtype))
    with module.graph.inserting_before(convolution):
        tensors = (module.graph.get_attr(f"{name}_weight"), module.graph.get_attr(f"{name}_bias"))
    convolution.args = (convolution.args[0], *tensors, *convolution.args[3:])
    for user in list(node.users):
        user.replace_all_uses_with(convolution)
