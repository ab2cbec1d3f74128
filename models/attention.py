"""The attention of a network, read from its graph: fused, or written out as a softmax of a product."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from xai.errors import NotApplicableError
from xai.models.graph import Graph
from xai.models.layout import Layout, layouts, operator, shape_of

FUSED = "scaled_dot_product_attention"
ARGUMENTS = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
_PRODUCTS = frozenset(("matmul", "bmm"))
_PASSED = frozenset(("clone", "dropout", "expand", "view", "reshape", "_unsafe_view", "contiguous", "_to_copy", "to"))


@dataclass(frozen=True)
class Attention:
    """One attention, from every token of the picture to every other.

    Args:
        node: the fused operator, or the softmax that gives the weights.
        layout: where the patches are among the tokens.
    """

    node: fx.Node
    layout: Layout

    @property
    def tokens(self) -> tuple[int, tuple[int, int]]:
        """How many tokens stand before the patches, and the patches' rows and columns."""
        return self.layout.prefix, self.layout.grid


def attentions(graph: Graph) -> list[Attention]:
    """Return every attention of a network, in order.

    Raises:
        NotApplicableError: there is none, or one of them is not from all patches of the picture to all of them.
    """
    found = layouts(graph.module.graph)
    pairs = [(node, pair) for node in graph.module.graph.nodes if (pair := _attending(node))]
    if not pairs:
        raise NotApplicableError("the network's graph shows no attention")
    known = []
    for node, (one, other) in pairs:
        layout, beside = found.get(one), found.get(other)
        if layout is None or beside is None or not _is_whole(node, layout, beside):
            raise NotApplicableError(
                f"attention {node.name!r} is not from all patches of the picture to all of them, as within windows"
            )
        known.append(Attention(node, layout))
    if len({attention.tokens for attention in known}) > 1:
        raise NotApplicableError(
            "the patches change from one attention to the next, so that weights cannot be multiplied"
        )
    return known


def _attending(node: fx.Node) -> tuple[fx.Node, fx.Node] | None:
    """Return what tells an attention's tokens, from and to, or None if the node is no attention."""
    if operator(node) == FUSED:
        query, key = node.args[:2]
        assert isinstance(query, fx.Node)
        assert isinstance(key, fx.Node)
        return query, key
    if operator(node) not in ("softmax", "_softmax") or len(shape_of(node)) < 3:
        return None
    value = _weighted(node)
    return None if value is None else (node, value)


def _weighted(node: fx.Node) -> fx.Node | None:
    """Return what is weighted by a softmax: the other factor of the product that it goes into."""
    for user in node.users:
        if operator(user) in _PRODUCTS and user.args[0] is node and isinstance(user.args[1], fx.Node):
            return user.args[1]
        if operator(user) in _PASSED and (found := _weighted(user)) is not None:
            return found
    return None


def _is_whole(node: fx.Node, one: Layout, other: Layout) -> bool:
    """Say whether both axes of an attention's weights are all tokens of the picture."""
    if operator(node) != FUSED and len(set(shape_of(node)[-2:])) > 1:
        return False
    return one.names[-2] == other.names[-2] == "t" and (one.prefix, one.grid) == (other.prefix, other.grid)


class Weights(fx.Interpreter):
    """Runs one input through a graph and keeps each attention's weights, (heads, tokens, tokens).

    Args:
        graph: the network.
        program: that runs it.
        wanted: its attentions.
    """

    def __init__(self, graph: Graph, program: fx.Interpreter, wanted: Sequence[Attention]) -> None:
        super().__init__(graph.module)
        self.fetch_attr = program.fetch_attr  # type: ignore[method-assign]  # of a copy of the graph its own tensors
        self._wanted = {attention.node for attention in wanted}
        self._last = wanted[-1].node
        self.weights: list[torch.Tensor] = []
        self.given: torch.Tensor | None = None  # the last one's value, a row a token, that gradients can be taken to

    def run_node(self, n: fx.Node) -> Any:
        """Run one node."""
        value = super().run_node(n)
        if n in self._wanted:
            weights = value if operator(n) != FUSED else _recomputed(*self.fetch_args_kwargs_from_env(n))
            self.weights.append(weights.detach().reshape(-1, *weights.shape[-2:]))
        if n is self._last:
            value = self.given = value.detach().clone().requires_grad_()
        return value

    def read(self, outputs: torch.Tensor) -> list[int]:
        """Return the tokens that outputs (1, classes) still depend on behind the last attention."""
        assert self.given is not None
        (gradient,) = torch.autograd.grad((outputs * torch.randn_like(outputs)).sum(), self.given)
        return gradient.reshape(-1, *gradient.shape[-2:]).abs().amax(dim=(0, 2)).nonzero().flatten().tolist()


def _recomputed(args: Sequence[Any], options: dict[str, Any]) -> torch.Tensor:
    """Return the weights (..., tokens, tokens) of a fused attention from its arguments."""
    given = {**dict(zip(ARGUMENTS, args, strict=False)), **options}
    query, key, mask = given["query"], given["key"], given.get("attn_mask")
    if given.get("enable_gqa"):
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], dim=-3)
    scale = given.get("scale") or query.shape[-1] ** -0.5
    scores = query @ key.transpose(-2, -1) * scale
    if given.get("is_causal"):
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
    weights: torch.Tensor = scores.softmax(dim=-1)
    return weights
