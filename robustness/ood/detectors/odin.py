"""ODIN: a small step toward the answer helps known inputs more than unknown ones."""

from __future__ import annotations

from collections.abc import Callable

import torch
from pydantic import Field

from xai.registry import Kind, Method, Need
from xai.robustness.ood.detectors.base import Detector, Evidence, Reads, Seen, State


class Odin(Detector):
    """Liang, Li and Srikant 2018."""

    about = Method(
        name="odin",
        title="ODIN",
        summary="The softmax of much tempered logits after a small step of the input toward the model's own answer.",
        limits="Temperature and step were tuned on outliers in the paper and are fixed here. It needs a backward pass "
        "and a second forward pass for each input.",
        source="Liang, Li, Srikant 2018, Enhancing The Reliability of Out-of-distribution Image Detection in Neural "
        "Networks",
        kind=Kind.HEURISTIC,
        needs=frozenset({Need.GRADIENTS}),
    )
    evidence = Evidence.GRADIENTS
    reads = frozenset({Reads.CLASSES, Reads.GRADIENTS})

    temperature: float = Field(default=1000.0, gt=0, le=1e6, description="What logits are divided by.")
    epsilon: float = Field(
        default=0.0014, ge=0, le=1, description="Step of every value of the input, a share of the input's range."
    )

    def score(self, seen: Seen, state: State) -> torch.Tensor:  # noqa: ARG002  # nothing is learnt
        """Step, look again, and take minus the highest probability."""
        moved = toward_answer(seen.inputs, seen.classify, self.epsilon * seen.span, self.temperature)
        with torch.no_grad():
            return -(seen.classify(moved) / self.temperature).softmax(1).max(1).values


def toward_answer(
    inputs: torch.Tensor, classify: Callable[[torch.Tensor], torch.Tensor], step: float, temperature: float
) -> torch.Tensor:
    """Return inputs (n, ...) after a step, in input units, along the sign of their answer's slope (its log softmax)."""
    with torch.enable_grad():
        points = inputs.detach().clone().requires_grad_()
        answer = (classify(points) / temperature).log_softmax(1).max(1).values
        slope = torch.autograd.grad(answer.sum(), points, allow_unused=True, materialize_grads=True)[0]
    return inputs.detach() + step * slope.sign()
