"""Small networks whose truth is known by other means, for tests of the search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import nn

from tests.robustness.verify.exact import Exact
from xai.robustness.bounds.affine import Linear
from xai.robustness.bounds.elementwise import Rectifier
from xai.robustness.bounds.inputs import Inputs
from xai.robustness.bounds.interval import Interval
from xai.robustness.bounds.methods.base import bounders
from xai.robustness.bounds.program import Program
from xai.robustness.bounds.relaxations.base import Builder
from xai.robustness.bounds.rounding import Arithmetic
from xai.robustness.verify.decide import Verifier


@dataclass(frozen=True)
class Dense:
    """A network of matrices (outputs, inputs) float32 and biases, ReLU between them."""

    weights: tuple[torch.Tensor, ...]
    biases: tuple[torch.Tensor, ...]

    @classmethod
    def drawn(cls, sizes: Sequence[int], seed: int) -> Dense:
        generator = torch.Generator().manual_seed(seed)
        pairs = list(pairwise(sizes))
        weights = tuple(torch.randn(b, a, generator=generator) / a**0.5 for a, b in pairs)
        return cls(weights, tuple(torch.randn(b, generator=generator) / 2 for _, b in pairs))

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return outputs (n, outputs) of inputs (n, inputs), in their dtype."""
        for place, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = (x.clamp(min=0) if place else x) @ weight.to(x.dtype).T + bias.to(x.dtype)
        return x

    @property
    def program(self) -> Program:
        build = Builder(torch.zeros(1, self.weights[0].shape[1]))
        value = build.input
        for place, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            value = build.add(Rectifier(torch.tensor(0.0)), value) if place else value
            value = build.add(Linear(weight, bias), value)
        return Program(tuple(build.steps), value.index, {})

    def verifier(self, arithmetic: Arithmetic = Arithmetic.REAL) -> Verifier:
        return Verifier(self.program, self, bounders.get("crown")(), bounders.get("alpha-crown")(), arithmetic)

    def least(self, row: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> float:
        """Return the smallest value of row . output over a box, to twelve digits."""
        layers: list[nn.Module] = []
        for weight, bias in zip(self.weights, self.biases, strict=True):
            layer = nn.Linear(weight.shape[1], weight.shape[0])
            layer.weight.data, layer.bias.data = weight, bias
            layers += [layer, nn.ReLU()]
        net = nn.Sequential(*layers[:-1])
        return Exact(net, (len(lower),), lower, upper).least(row[None], np.zeros(1)).upper


def box(lower: Sequence[float], upper: Sequence[float]) -> Inputs:
    """Return one box of inputs (1, inputs)."""
    ends = Interval(*(torch.tensor(end, dtype=torch.float64)[None, None] for end in (list(lower), list(upper))))
    return Inputs(ends, ends.middle)
