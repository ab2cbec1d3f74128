"""Attention rollout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field

from xai.explainers.base import Attribution, Attributor, upsampled
from xai.models.attention import Attention, Weights, attentions
from xai.models.model import Model
from xai.models.targets import Target
from xai.registry import Kind, Method, Need
from xai.reports.records import Value
from xai.runtime import Runtime

Fuse = Literal["mean", "max", "min"]


def rollout(weights: Sequence[torch.Tensor], fuse: Fuse) -> torch.Tensor:
    """Return how much of each token reaches each token, (tokens, tokens), rows summing to 1.

    Args:
        weights: (heads, tokens, tokens) of each attention, the first one first.
        fuse: how the heads become one.
    """
    identity = torch.eye(weights[0].shape[-1], dtype=torch.float64, device=weights[0].device)
    reached = identity
    for heads in weights:
        fused = heads.mean(dim=0) if fuse == "mean" else heads.amax(dim=0) if fuse == "max" else heads.amin(dim=0)
        one = fused.double() + identity
        reached = (one / one.sum(dim=-1, keepdim=True)) @ reached
    return reached


class AttentionRollout(Attributor):
    """Attention weights multiplied over the layers (Abnar & Zuidema 2020)."""

    about = Method(
        name="attentionrollout",
        title="Attention rollout",
        summary=(
            "Bright places are patches that attention carries most of to the tokens the answer is read from, when it "
            "is followed through all layers."
        ),
        limits=(
            "It knows no class: it shows where a transformer looks, whatever it answers, and is the same for every "
            "target. It follows attention weights alone, each layer's input counting as much as what it attends to: "
            "what values carry, and what the layers between do, is left out."
        ),
        source="Abnar & Zuidema 2020, Quantifying Attention Flow in Transformers",
        kind=Kind.HEURISTIC,
        needs=frozenset({Need.GRADIENTS, Need.GRAPH}),
    )
    signed = False
    unit = "share of attention"

    heads: Fuse = Field(default="mean", description="how the heads of a layer become one: mean, max or min")

    def about_target(self) -> bool:
        """Say that one map stands for all targets."""
        return False

    def applies(self, model: Model) -> None:
        """Raise NotApplicableError if there is no attention from all patches of the picture to all of them."""
        super().applies(model)
        attentions(model.needed_graph())

    def attribute(
        self,
        model: Model,
        x: torch.Tensor,
        targets: Sequence[Target],
        runtime: Runtime,  # noqa: ARG002  # one forward pass needs no batches
    ) -> list[Attribution]:
        """Follow the attention once, or once a copy of the model."""
        graph, classes = model.needed_graph(), len(model.classes)
        known, programs = attentions(graph), graph.programs()
        copies = [target.index // classes for target in targets]
        found = {
            copy: self._followed(Weights(graph, programs[copy], known), known[0], x) for copy in dict.fromkeys(copies)
        }
        return [found[copy] for copy in copies]

    def _followed(self, running: Weights, one: Attention, x: torch.Tensor) -> Attribution:
        read = running.read(running.run(x[None]))
        prefix, (rows, columns) = one.tokens
        patches = list(range(prefix, prefix + rows * columns))
        read = read or ([0] if prefix else patches)  # of an untrained head, which is zero, nothing is read
        row = rollout(running.weights, self.heads)[read].mean(dim=0)
        words = {(0,): "the first token" if prefix else "the first patch", tuple(patches): "the mean over all patches"}
        return Attribution(
            upsampled(row[patches].view(1, 1, rows, columns)[0, 0], x),
            chosen={
                "grid": f"{rows} x {columns}",
                "layers": len(running.weights),
                "read from": words.get(tuple(read), f"the mean over {len(read)} tokens"),
            },
            values={"on the patches": Value(value=float(row[patches].sum()), unit="share of the attention")},
        )
