"""Attention in one operator."""

from __future__ import annotations

import math

import torch

from xai.robustness.bounds.affine import Scale
from xai.robustness.bounds.operation import Part
from xai.robustness.bounds.product import MatrixProduct
from xai.robustness.bounds.relaxations.base import About, Call, Made, Rule, Value
from xai.robustness.bounds.softmax import Softmax


class AttentionRule(Rule):
    """Scaled dot-product attention."""

    about = About(
        name="attention",
        operators=("scaled_dot_product_attention",),
        interval="as of its steps: product, softmax, product",
        linear="as of its steps",
        rounding="not known: it differs from kernel to kernel",
    )

    def lower(self, call: Call) -> Made:
        """Add the product of queries and keys, the softmax, and the product with the values."""
        if call["dropout_p"]:
            raise call.refused("it draws random numbers")
        if call.arguments.get("enable_gqa"):
            raise call.refused("grouped queries")
        query, key, value = (call.value(name) for name in ("query", "key", "value"))
        if not query.shape[:-2] == key.shape[:-2] == value.shape[:-2]:
            raise call.refused("queries, keys and values of different leading axes")
        factor = 1 / math.sqrt(query.shape[-1]) if call["scale"] is None else float(call["scale"])
        scaled = call.build.add(Scale(torch.tensor(factor, dtype=torch.float64)), query)
        turned = call.build.arrange(lambda x: x.mT, key, alone=True)
        scores = call.build.add(MatrixProduct(query.shape[-1]), scaled, turned)
        scores, kept = _masked(call, scores)
        shares = call.build.add(Softmax(scores.shape[-1], kept), scores)
        return call.build.add(Part(MatrixProduct(scores.shape[-1]), None), shares, value)


def _masked(call: Call, scores: Value) -> tuple[Value, torch.Tensor | None]:
    """Return the scores with a constant mask added, and which of them take part."""
    mask = call["attn_mask"]
    kept: torch.Tensor | None = None
    if call["is_causal"]:
        kept = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
    elif mask is not None:
        mask = call.constant("attn_mask")
        kept = mask if mask.dtype == torch.bool else mask > -torch.inf
        if mask.dtype != torch.bool:
            finite = mask.masked_fill(~kept, 0.0)
            scores = call.build.add(Scale(torch.ones(()), finite.expand(scores.shape)), scores)
    if kept is not None and not bool(kept.any(-1).all()):
        raise call.refused("a mask that leaves nothing")
    return scores, kept
