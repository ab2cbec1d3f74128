"""Outputs of copies of one picture that each differ in a small part: only what the change reaches is computed again.

The whole picture's values are kept. A convolution reads a changed place from as far as its kernel reaches; everything
else is as it was. So a change is carried along as a patch, which grows, until it covers its map or meets an operator
that looks at all places at once (Nakandala et al. 2019, Incremental and approximate inference for faster
occlusion-based deep CNN explanations). Nothing is approximated: outputs differ from those of whole copies by rounding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import getitem
from typing import Any

import torch
from torch import fx

from xai.models.patches import RULES, Corner, Patch, Whole

aten = torch.ops.aten


class Incremental:
    """A graph that is run for copies of one picture.

    Args:
        module: the graph.
        x: (1, channels, height, width), the picture.
    """

    def __init__(self, module: fx.GraphModule, x: torch.Tensor) -> None:
        self._module, self._kept = module, _Kept(module)
        self.outputs: torch.Tensor = self._kept.run(x)

    def __call__(self, parts: torch.Tensor, corners: Sequence[Corner]) -> torch.Tensor:
        """Return the outputs (copies, classes) of the picture with a part of it exchanged in each copy.

        Args:
            parts: (copies, channels, rows, columns) what stands there instead, in input units.
            corners: row and column where each begins.
        """
        patch = Patch(parts, corners, self._kept.wholes[self._kept.source])
        outputs: torch.Tensor = _Copies(self._module, self._kept, len(corners)).run(patch)
        return outputs

    def bytes_per_copy(self, side: int) -> int:
        """Return how many bytes of activations live at once for a copy whose square in the middle is exchanged."""
        source = self._kept.wholes[self._kept.source]
        rows, columns = source.shape
        top, left = (rows - side) // 2, (columns - side) // 2
        run = _Weighed(self._module, self._kept, 1)
        run.run(Patch(source.value[..., top : top + side, left : left + side], [(top, left)], source))
        return run.most_bytes


class _Kept(fx.Interpreter):
    """Runs a graph for the picture, and keeps its maps, and what does not depend on it."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.source = next(node for node in module.graph.nodes if node.op == "placeholder")
        self.wholes: dict[fx.Node, Whole] = {}
        self.constants: dict[fx.Node, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        """Run one node."""
        value = super().run_node(n)
        if n is not self.source and all(before in self.constants for before in n.all_input_nodes):
            self.constants[n] = value
            return value
        shown = value[0] if isinstance(value, tuple) and _only_first(n) else value
        if isinstance(shown, torch.Tensor) and shown.ndim == 4:
            self.wholes[n] = Whole(shown)
        return value


class _Copies(fx.Interpreter):
    """Runs a graph for copies of the picture: values are patches as long as they can be, then of all places."""

    def __init__(self, module: fx.GraphModule, kept: _Kept, copies: int) -> None:
        super().__init__(module)
        self._kept, self._copies = kept, copies

    def run_node(self, n: fx.Node) -> Any:
        """Run one node."""
        if n in self._kept.constants:
            return self._kept.constants[n]
        if n.op == "placeholder":
            return super().run_node(n)
        arguments, named = self.fetch_args_kwargs_from_env(n)
        found = RULES[n.target](self._kept.wholes[n], *arguments, **named) if self._is_carried(n) else None
        if found is not None:
            patch = Patch(*found, self._kept.wholes[n])
            return patch.value if patch.is_whole else patch
        if n.target is aten.sym_size.int:
            return self._copies if arguments[1] == 0 else _size(*arguments)
        arguments, named = fx.node.map_aggregate((arguments, named), _everywhere)
        return getattr(self, n.op)(n.target, arguments, named)

    def _is_carried(self, node: fx.Node) -> bool:
        """Say whether there is a rule for a node, whose result is one map, and patches are all that depends on x."""
        if node.target not in RULES or node not in self._kept.wholes:
            return False
        changed = (before for before in node.all_input_nodes if before not in self._kept.constants)
        return all(isinstance(self.env[before], Patch) for before in changed)


class _Weighed(_Copies):
    """Notes besides how many bytes live at once."""

    most_bytes = 0

    def run_node(self, n: fx.Node) -> Any:
        """Run one node, and weigh what it leaves."""
        value = super().run_node(n)
        if n in self._kept.constants:  # weights are there once, whatever the copies
            return value
        alive = (one for node, one in self.env.items() if node not in self._kept.constants)
        self.most_bytes = max(self.most_bytes, _bytes(value) + sum(map(_bytes, alive)))
        return value


def _only_first(node: fx.Node) -> bool:
    """Say whether of a node's several values only the first is used."""
    return all(user.target is getitem and user.args[1] == 0 for user in node.users)


def _everywhere(value: Any) -> Any:
    return value.everywhere() if isinstance(value, Patch) else value


def _bytes(value: Any) -> int:
    tensor = value.value if isinstance(value, Patch) else value
    return tensor.nbytes if isinstance(tensor, torch.Tensor) else 0


def _size(value: Patch | torch.Tensor, axis: int) -> int:
    shape: Mapping[int, int] | torch.Size = (value.whole.value if isinstance(value, Patch) else value).shape
    return shape[axis]
