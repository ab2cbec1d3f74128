"""A program of FX nodes that was read from a file, run one node at a time."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx, nn
from torch.fx.traceback import preserve_node_meta

from xai.models.recurrent import check_call, is_recurrent

LARGEST = 2**63  # no shape needs a larger number; products of products would fill the memory with one


class Program(nn.Module):
    """Runs FX nodes one by one, so that an export keeps what they know of their place in the source.

    Args:
        program: a graph with its tensors, which takes one input.
    """

    def __init__(self, program: fx.GraphModule) -> None:
        super().__init__()
        self.program = program

    def forward(self, x: torch.Tensor) -> Any:
        """Return what the program returns for x."""
        with preserve_node_meta():
            return _Bounded(self.program).run(x)


class _Bounded(fx.Interpreter):
    """Runs a graph and refuses whole numbers that no shape can be."""

    def run_node(self, n: fx.Node) -> Any:
        """Run one node."""
        if is_recurrent(n.target):
            check_call(n.target, self.fetch_args_kwargs_from_env(n)[0])
        value = super().run_node(n)
        if type(value) is int and abs(value) > LARGEST:
            raise ValueError(f"{n.name} is a whole number beyond 64 bits")
        return value


class Unchanged(nn.Module):
    """Calls a module on copies of its buffers, so that what it writes into them is gone after the call.

    Args:
        module: takes one input.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: torch.Tensor) -> Any:
        """Return what the module returns for x."""
        buffers = {name: buffer.clone() for name, buffer in self.module.named_buffers()}
        return torch.func.functional_call(self.module, buffers, (x,))
