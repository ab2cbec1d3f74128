"""Layer-wise relevance propagation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pydantic import Field
from torch.utils.weak import WeakTensorKeyDictionary

from xai.explainers.base import Attribution, Attributor, gradients, shortfall
from xai.models.model import Model
from xai.models.modified import Bilinear, Call, Rules, along, posing
from xai.models.targets import Target
from xai.registry import Kind, Method, Need
from xai.reports.records import Value
from xai.runtime import Runtime

LEAST = 1e-4  # of a function's values: a smaller rise is mostly rounding
STABLE = 1e-9  # what keeps the sums of convolutions away from 0, as a share of their root mean square
CONVOLUTIONS = ("convolution", "_convolution", "conv1d", "conv2d", "conv3d")


class Composite(Rules):
    """Gamma for convolutions, epsilon for dense layers, attention after Achtibat et al.

    What flows back times a value is the value's relevance.

    Args:
        epsilon: added to the size of a dense layer's outputs before they divide, as a share of their root mean square.
        gamma: by what positive weights count more.
    """

    def __init__(self, epsilon: float, gamma: float) -> None:
        super().__init__()
        self._epsilon, self._gamma = epsilon, gamma
        self._makers = WeakTensorKeyDictionary()  # the call that a convolution's output came from

    def function(self, x: torch.Tensor, y: torch.Tensor, at_zero: torch.Tensor | None = None) -> torch.Tensor:
        """Pass the relevance on as it is; what a function gives for 0 keeps its share, as a bias does."""
        start = torch.zeros_like(y) if at_zero is None else torch.where(torch.isfinite(at_zero), at_zero, 0)
        rise = y - start
        far = (x != 0) & (rise.abs() > LEAST * (y.abs() + start.abs()))
        return along(x, y, run=x, rise=rise, far=far)

    def product(self, multiply: Bilinear, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Give each factor half."""
        return posing(multiply(a, b), (multiply(a, b.detach()) + multiply(a.detach(), b)) / 2)

    def quotient(self, call: Call) -> torch.Tensor:
        """Give all to the numerator, where it follows from the input."""
        a, b = call["self"], call["other"]
        found: torch.Tensor = a / b.detach() if a.requires_grad else a * self.function(b, b.reciprocal())
        return found

    def softmax(self, x: torch.Tensor, axis: int) -> torch.Tensor:
        """Let the derivative flow back: a Taylor expansion, whose constant keeps a share."""
        return x.softmax(axis)

    def log_softmax(self, x: torch.Tensor, axis: int) -> torch.Tensor:
        """Let the derivative flow back."""
        return x.log_softmax(axis)

    def standardised(self, x: torch.Tensor, axes: Sequence[int], eps: float) -> torch.Tensor:
        """Hold the deviation constant."""
        return x * (x.detach().square().mean(list(axes), keepdim=True) + eps).rsqrt()

    def largest(self, call: Call) -> Any:
        """Give all to the largest."""
        return call.run()

    def weighted(self, call: Call) -> torch.Tensor:
        """Share out what a layer gives, in proportion to what its inputs add."""
        if call.name in ("mul", "div"):
            return super().weighted(call)
        if call.name not in CONVOLUTIONS or "input" not in call.followers:
            y: torch.Tensor = call.run()
            return posing(y, y * _share(y, y, self._epsilon))
        y = self._by_gamma(call, {})
        self._makers[y] = call
        return y

    def normalised(self, call: Call) -> Any:
        """Make one layer of a convolution and its normalisation."""
        made, maker = call.run(), self._makers.get(call["input"])
        if maker is None:
            return made
        factor = (call["running_var"] + call["eps"]).rsqrt()
        factor = factor if call["weight"] is None else factor * call["weight"]
        bias = -call["running_mean"] if maker["bias"] is None else maker["bias"] - call["running_mean"]
        shift = bias * factor if call["bias"] is None else bias * factor + call["bias"]
        weight = maker["weight"] * factor.view(-1, *(1,) * (maker["weight"].ndim - 1))
        values = made if isinstance(made, torch.Tensor) else made[0]
        one = posing(values, self._by_gamma(maker, {"weight": weight, "bias": shift}))
        return one if isinstance(made, torch.Tensor) else (one, *made[1:])

    def _by_gamma(self, call: Call, changed: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Run a convolution; what raises an output's size counts more by gamma."""
        with torch.no_grad():
            y: torch.Tensor = call.run(changed)
        x = call["input"]
        weight, bias = (changed.get(name, call[name]) for name in ("weight", "bias"))
        positive, negative = x.clamp(min=0), x.clamp(max=0)
        totals = [
            call.run({"input": positive, **self._more(weight, bias, sign)})
            + call.run({"input": negative, **self._more(weight, None, -sign)})
            for sign in (1, -1)
        ]
        total = torch.where(y > 0, totals[0], totals[1])
        return posing(y, total * _share(y, total, STABLE))

    def _more(self, weight: torch.Tensor, bias: torch.Tensor | None, sign: int) -> dict[str, torch.Tensor | None]:
        """Return weights and bias, of which those of one sign count more."""
        return {
            name: None if part is None else part + self._gamma * sign * (sign * part).clamp(min=0)
            for name, part in (("weight", weight), ("bias", bias))
        }


class LRP(Attributor):
    """Relevance that each layer hands down to its inputs (Bach et al. 2015)."""

    about = Method(
        name="lrp",
        title="LRP",
        summary=(
            "Hands the target's output down from layer to layer, to each input in proportion to what it adds: pixels "
            "show how much of it they get."
        ),
        limits=(
            "What biases and normalisations keep is missing from the map: see how much is conserved. Colours are "
            "counted from the dataset's mean, which is the network's 0, and the rules are a choice: others give other "
            "maps."
        ),
        source=(
            "Bach et al. 2015, On Pixel-Wise Explanations for Non-Linear Classifier Decisions by Layer-Wise Relevance "
            "Propagation; Montavon et al. 2019, Layer-Wise Relevance Propagation: An Overview; Achtibat et al. 2024, "
            "AttnLRP: Attention-Aware Layer-Wise Relevance Propagation for Transformers"
        ),
        kind=Kind.HEURISTIC,
        needs=frozenset({Need.GRADIENTS, Need.GRAPH}),
    )
    signed = True
    unit = "share of the target's output"

    epsilon: float = Field(
        default=1e-6,
        gt=0,
        le=1,
        description="added to a dense layer's outputs, as a share of their root mean square",
    )
    gamma: float = Field(default=0.25, ge=0, le=1000, description="by what weights of the output's sign count more")

    def attribute(
        self,
        model: Model,
        x: torch.Tensor,
        targets: Sequence[Target],
        runtime: Runtime,  # noqa: ARG002  # one forward pass needs no batches
    ) -> list[Attribution]:
        """Run once, and hand each target's output down."""
        inputs = x[None].clone().requires_grad_()
        outputs = model.needed_graph().run(inputs, {}, Composite(self.epsilon, self.gamma))
        mean = torch.tensor(model.input.mean, dtype=x.dtype, device=x.device).view(-1, 1, 1)
        found = []
        for target, passed in zip(targets, gradients(outputs, inputs, targets), strict=True):
            relevance, output = ((x - mean) * passed[0]).double(), float(target(outputs.detach()))
            total = float(relevance.sum())
            values = {
                "output": Value(value=output, unit="of the picture"),
                "sum": Value(value=total, unit="of all relevance in the map"),
                "conserved": Value(value=total / output if output else None, unit="share of the output"),
            }
            notes = shortfall(total, output, "The relevances of all pixels")
            found.append(Attribution(relevance.sum(dim=0), values=values, notes=notes))
        return found


def _share(y: torch.Tensor, total: torch.Tensor, epsilon: float) -> torch.Tensor:
    """Return y over the sum of what is shared out, which epsilon keeps away from 0."""
    total = total.detach()
    size = epsilon * total.square().mean().sqrt()
    divisor = total + torch.where(total < 0, -size, size)
    return torch.where(divisor == 0, 0, y.detach() / divisor)
