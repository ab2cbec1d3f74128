"""Frees graphs whose batch size was fixed when they were exported.

An exporter writes the batch of its example into every size that it had a part in: view(x, [1, 64]) for what was
x.view(len(x), 64). Which of these numbers are the batch cannot be told from the graph. So the sizes of two batches
are followed through it side by side, numbers are taken for the batch where its place in memory says so, and the result
counts only if it gives for several inputs what the original gives for each of them.
"""

from __future__ import annotations

import logging
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import fx, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from xai.models.program import Program, Unchanged
from xai.models.quiet import quiet
from xai.models.trial import NEIGHBOURS, spread

log = logging.getLogger(__name__)
aten = torch.ops.aten

CHECKS = 3  # random inputs on which the freed graph must agree
TOLERANCE = 1e-5
_VIEWS = (aten.view.default, aten.reshape.default, aten._unsafe_view.default, aten.view_copy.default, torch.reshape)
_EXPANSIONS = (aten.expand.default, aten.expand_copy.default, aten.broadcast_to.default, torch.broadcast_to)
_NEW = (aten.new_zeros.default, aten.new_ones.default, aten.new_full.default, aten.new_empty.default)
_MADE = (aten.zeros.default, aten.ones.default, aten.full.default, aten.empty.memory_format)

Shape = tuple[int, ...]
Place = tuple[int, int]  # the axis that holds the batch, and how many places of that axis lie outside the batch


def freed(
    module: fx.GraphModule, shape: Shape, batch: int, dtype: torch.dtype = torch.float32
) -> fx.GraphModule | None:
    """Return the same network for any batch, with tensors shared, or None if that cannot be had.

    Args:
        module: takes (batch, *shape) and gives one tensor with a row for each input.
        shape: of one input.
        batch: the only batch size that it takes.
        dtype: of its input.
    """
    for leading in (True, False):
        try:
            with quiet():
                candidate = _Freeing(module, shape, batch, dtype, leading=leading).result()
                if _agree(module, candidate, shape, batch, dtype):
                    return candidate
        except Exception:  # whatever an operator raises for sizes that do not fit
            log.debug("the batch could not be freed", exc_info=True)
    return None


def mixes(module: nn.Module, shape: Shape, batch: int, dtype: torch.dtype = torch.float32) -> bool:
    """Say whether the answer to an input depends on the other inputs of its batch; see `freed` for the arguments."""
    one, two = _random(2 * batch, shape, dtype).split(batch)
    call = Unchanged(module)
    with torch.no_grad():
        wanted = call(one)
        least = NEIGHBOURS * spread(wanted, call(two))  # runs of one size round alike
        for index in range(batch):
            among_others = two.clone()
            among_others[index] = one[index]
            if not bool(((call(among_others)[index] - wanted[index]).abs() <= least).all()):
                return True
    return False


class _Freeing:
    """Writes a graph anew while the sizes of two batches are followed through it.

    Args:
        module: the original; see `freed`.
        shape: of one input.
        batch: the size that is fixed in it.
        dtype: of its input.
        leading: whether a tensor that is made or expanded to that leading size is taken to be as long as the batch.
    """

    def __init__(self, module: fx.GraphModule, shape: Shape, batch: int, dtype: torch.dtype, *, leading: bool) -> None:
        self._module = module
        self._batch = batch
        self._other = 7 if batch != 7 else 5  # a prime: sizes that hold it are told from those that do not
        self._leading = leading
        self._mode = FakeTensorMode(allow_non_fake_inputs=True)
        with self._mode:
            self._inputs = torch.empty((batch, *shape), dtype=dtype), torch.empty((self._other, *shape), dtype=dtype)
        self._fixed: dict[fx.Node, Any] = {}
        self._free: dict[fx.Node, Any] = {}
        self._places: dict[fx.Node, Place] = {}
        self._graph = fx.Graph()
        self._size: fx.Node | None = None

    def result(self) -> fx.GraphModule:
        """Return the graph for any batch; raises whatever an operator raises where sizes do not fit."""
        copies: dict[fx.Node, fx.Node] = {}
        for node in self._module.graph.nodes:
            new = copies[node] = self._graph.node_copy(node, lambda old: copies[old])
            if node.op == "placeholder":
                self._fixed[new], self._free[new] = self._inputs
                self._places[new] = (0, 1)
                self._size = self._call(aten.sym_size.int, new, 0)
            elif node.op == "get_attr":
                self._fixed[new] = self._free[new] = self._fake(node)
            elif node.op == "call_function":
                self._follow(new)
        return fx.GraphModule(self._module, self._graph)

    def _fake(self, node: fx.Node) -> Any:
        owner, _, leaf = str(node.target).rpartition(".")
        return self._mode.from_tensor(getattr(self._module.get_submodule(owner), leaf))

    def _call(self, target: Any, *args: Any) -> fx.Node:
        """Add a call that is not in the original, and its value for either batch."""
        node = self._graph.call_function(target, args)
        self._fixed[node], self._free[node] = (self._run(node, values) for values in (self._fixed, self._free))
        return node

    def _run(self, node: fx.Node, values: dict[fx.Node, Any]) -> Any:
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), values.__getitem__)
        with self._mode, torch.no_grad():
            return node.target(*args, **kwargs)  # type: ignore[operator]  # of a call_function it is a function

    def _follow(self, node: fx.Node) -> None:
        """Compute a node's value for either batch, its sizes first made to depend on the batch."""
        self._fixed[node] = self._run(node, self._fixed)
        place = None
        if node.target in (*_VIEWS, aten.unflatten.int):
            place = self._free_view(node)
        elif node.target in (*_EXPANSIONS, aten.repeat.default, *_NEW, *_MADE):
            self._free_leading(node)
        self._free[node] = self._run(node, self._free)
        place = place or self._place(node)
        if place is not None:
            self._places[node] = place

    def _place(self, node: fx.Node) -> Place | None:
        """Return where the batch is in a node's value: the axis whose size differs."""
        one, two = (getattr(values[node], "shape", ()) for values in (self._fixed, self._free))
        differing = [axis for axis, (old, new) in enumerate(zip(one, two, strict=True)) if old != new]
        if len(differing) != 1:
            return None
        for source in node.all_input_nodes:
            axis, outer = self._places.get(source, (0, 1))
            if outer != 1 and self._fixed[source].shape[axis] == one[differing[0]]:
                return differing[0], outer
        return differing[0], 1

    def _free_view(self, node: fx.Node) -> Place | None:
        """Let the axis of a view that takes up the batch have the batch's size; return its place."""
        source = node.args[0]
        assert isinstance(source, fx.Node)
        if source not in self._places or any(isinstance(size, fx.Node) for size in _sizes(node)):
            return None
        before, after = tuple(self._fixed[source].shape), tuple(self._fixed[node].shape)
        axis, outer = _holder(before, self._places[source], after, self._batch)
        sizes: list[Any] = list(after)
        with self._graph.inserting_before(node):
            sizes[axis] = self._times(after[axis] // self._batch)
        if node.target is aten.unflatten.int:
            dim = int(str(node.args[1])) % len(before)
            sizes = sizes[dim : dim + len(after) - len(before) + 1]
        _set_sizes(node, sizes)
        return axis, outer

    def _free_leading(self, node: fx.Node) -> None:
        """Let what is made or expanded be as long as the batch."""
        sizes = list(_sizes(node))
        source = node.args[0] if isinstance(node.args[0], fx.Node) else None
        if source is not None and source in self._places:
            axis = self._places[source][0] + len(sizes) - len(self._fixed[source].shape)
            if node.target in _EXPANSIONS and sizes[axis] == self._fixed[source].shape[self._places[source][0]]:
                sizes[axis] = -1
                _set_sizes(node, sizes)
                return
        if self._leading and sizes and sizes[0] == self._batch and (source is None or source not in self._places):
            sizes[0] = self._size
            _set_sizes(node, sizes)

    def _times(self, factor: int) -> fx.Node | None:
        return self._size if factor == 1 else self._call(operator.mul, self._size, factor)


def _holder(before: Shape, place: Place, after: Shape, batch: int) -> Place:
    """Return the place of the batch after a view.

    Args:
        before: sizes before it.
        place: of the batch in them.
        after: sizes after it.
        batch: its size.

    Raises:
        ValueError: no axis can hold it.
    """
    outer = math.prod(before[: place[0]])
    outside = outer * place[1]  # of the numbers in memory: the steps that the batch's index is the inner part of
    starts = [math.prod(after[:axis]) for axis in range(len(after))]
    rules: list[tuple[Callable[[int], bool], Callable[[int], int]]] = [
        (lambda axis: starts[axis] == outside and after[axis] == batch, lambda _: 1),  # an axis of its own
        (
            lambda axis: starts[axis] == outer and after[axis] == before[place[0]],
            lambda _: place[1],
        ),  # the one it was in
        (lambda axis: starts[axis] == outside, lambda _: 1),  # the outer part of an axis
        (
            lambda axis: outside % starts[axis] == 0 and starts[axis] * after[axis] >= outside * batch,
            lambda axis: outside // starts[axis],  # within an axis
        ),
    ]
    axes = [axis for axis in range(len(after)) if after[axis] % batch == 0]
    for some in (axes[:-1], axes[-1:]):  # the last axis holds the features, and seldom the batch
        for fits, place_within in rules:
            for axis in some:
                if fits(axis):
                    return axis, place_within(axis)
    raise ValueError(f"no axis of {after} can hold the batch of {before}")


def _sizes(node: fx.Node) -> Sequence[Any]:
    sizes = node.args[_position(node)]
    assert isinstance(sizes, list | tuple)
    return sizes


def _set_sizes(node: fx.Node, sizes: Sequence[Any]) -> None:
    node.update_arg(_position(node), list(sizes))


def _position(node: fx.Node) -> int:
    return 2 if node.target is aten.unflatten.int else 0 if node.target in _MADE else 1


def _agree(module: nn.Module, candidate: fx.GraphModule, shape: Shape, batch: int, dtype: torch.dtype) -> bool:
    """Say whether the freed graph gives for several inputs what the original gives for each among others."""
    count = batch + CHECKS - 1  # never the batch itself: what mixes its inputs would mix the same ones
    x = _random(count, shape, dtype)
    original = Unchanged(Program(module) if isinstance(module, fx.GraphModule) else module)
    free = Unchanged(Program(candidate))
    with torch.no_grad():
        rows = [original(x[torch.arange(index, index + batch) % count])[:1] for index in range(count)]
        outputs = free(x.clone())
    return isinstance(outputs, torch.Tensor) and _close(outputs, torch.cat(rows))


def _random(count: int, shape: Shape, dtype: torch.dtype) -> torch.Tensor:
    return torch.randn((count, *shape), generator=torch.Generator().manual_seed(0)).to(dtype)


def _close(one: torch.Tensor, two: torch.Tensor) -> bool:
    if one.shape != two.shape:
        return False
    largest = float(two.abs().max()) if two.numel() else 0.0
    step = torch.finfo(two.dtype).eps if two.is_floating_point() else 0.0
    return bool(((one - two).abs() <= max(TOLERANCE, 8 * step) * largest).all())
