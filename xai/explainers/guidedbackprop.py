"""Guided backpropagation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from xai.errors import NotApplicableError
from xai.explainers.base import Attribution, Attributor, gradients
from xai.models.model import Model
from xai.models.targets import Target
from xai.registry import Kind, Method, Need
from xai.runtime import Runtime

RECTIFIERS = ("relu", "relu6", "clamp_min", "clamp", "hardtanh", "threshold", "maximum")
EXTENDED = (
    *("leaky_relu", "rrelu", "prelu", "_prelu_kernel", "elu", "celu", "selu", "gelu", "silu", "mish", "hardswish"),
    "softplus",
)
SANITY = (
    "Guided backpropagation was found to change hardly when a model's weights are drawn anew (Adebayo et al. 2018): it "
    "draws the edges of the picture. See the trust measures before you read more into it."
)


class Guided:
    """Runs rectifiers so that only what raises their output flows back; the rest as it is.

    `applied` holds the names of the operators that this was done with.
    """

    def __init__(self) -> None:
        self.applied: set[str] = set()

    def __call__(self, operator: Any) -> Callable[..., Any]:
        """Return what runs instead of an operator."""
        name = operator._schema.name.removeprefix("aten::") if isinstance(operator, torch._ops.OpOverload) else ""
        if "rnn" in name:
            raise NotApplicableError(f"the rectifiers within the operator {name} cannot be reached")
        return partial(self._run, operator, name) if name in (*RECTIFIERS, *EXTENDED) else operator

    def _run(self, operator: Any, name: str, *args: Any, **kwargs: Any) -> torch.Tensor:
        made: torch.Tensor = operator(*args, **kwargs)
        if made.requires_grad:
            self.applied.add(name)
            made.register_hook(lambda gradient: gradient.clamp(min=0))
        return made


class GuidedBackprop(Attributor):
    """Gradients of which only the positive part passes a rectifier (Springenberg et al. 2015)."""

    about = Method(
        name="guidedbackprop",
        title="Guided backpropagation",
        summary=(
            "A gradient that passes each rectifier only where it is positive: sharp lines where the picture has edges "
            "that some feature answers to."
        ),
        limits=(
            "It fails the sanity check of Adebayo et al. 2018: the map hardly changes when the model's weights are "
            "drawn anew, much as that of an edge detector. It says what the picture holds, not what the model "
            "decided by, and is nearly the same for every target."
        ),
        source="Springenberg et al. 2015, Striving for Simplicity: The All Convolutional Net",
        kind=Kind.HEURISTIC,
        needs=frozenset({Need.GRADIENTS, Need.GRAPH}),
    )
    signed = True
    unit = "guided gradient, per unit of the input"

    def attribute(
        self,
        model: Model,
        x: torch.Tensor,
        targets: Sequence[Target],
        runtime: Runtime,  # noqa: ARG002  # one forward pass needs no batches
    ) -> list[Attribution]:
        """Take each target's guided gradient after one forward pass, and add its channels up."""
        inputs, guided = x[None].clone().requires_grad_(), Guided()
        outputs = model.needed_graph().run(inputs, {}, guided)
        if not guided.applied:
            raise NotApplicableError("the model has no rectifiers, so that nothing is guided: see saliency")
        beyond = ", ".join(sorted(guided.applied.intersection(EXTENDED)))
        notes = (SANITY, f"The paper guides ReLU; here {beyond} is guided in its place.") if beyond else (SANITY,)
        return [Attribution(found[0].sum(dim=0), notes=notes) for found in gradients(outputs, inputs, targets)]
