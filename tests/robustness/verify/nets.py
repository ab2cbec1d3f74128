"""Small networks whose truth is known by other means, for tests of the search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from scipy.optimize import Bounds, LinearConstraint, milp

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
        """Return the smallest value of row . output over a box, by mixed-integer programming (Tjeng 2019)."""
        return _Program(self, lower, upper).least(row)


class _Program:
    """Variables: the inputs, and for each hidden number its value and whether it is positive."""

    def __init__(self, net: Dense, lower: np.ndarray, upper: np.ndarray) -> None:
        self.net = net
        self.low, self.high = list(lower), list(upper)
        self.whole = [0] * len(lower)
        self.rows: list[tuple[dict[int, float], float, float]] = []
        below, above = lower, upper
        values = list(range(len(lower)))
        for weight, bias in zip(net.weights[:-1], net.biases[:-1], strict=True):
            w, b = weight.double().numpy(), bias.double().numpy()
            least = np.clip(w, 0, None) @ below + np.clip(w, None, 0) @ above + b
            most = np.clip(w, 0, None) @ above + np.clip(w, None, 0) @ below + b
            values = [self._rectified(w[i], b[i], values, least[i], most[i]) for i in range(len(w))]
            below, above = least.clip(0), most.clip(0)
        self.values = values

    def _add(self, low: float, high: float, whole: int) -> int:
        self.low.append(low)
        self.high.append(high)
        self.whole.append(whole)
        return len(self.low) - 1

    def _rectified(self, w: np.ndarray, b: float, values: list[int], least: float, most: float) -> int:
        value, active = self._add(0, max(most, 0), 0), self._add(0, 1, 1)
        back = {place: -part for place, part in zip(values, w, strict=True)}
        self.rows.append(({value: 1.0, **back}, b, np.inf))  # value >= z
        self.rows.append(({value: 1.0, **back, active: -min(least, 0)}, -np.inf, b - min(least, 0)))
        self.rows.append(({value: 1.0, active: -max(most, 0)}, -np.inf, 0.0))
        return value

    def least(self, row: np.ndarray) -> float:
        w, b = self.net.weights[-1].double().numpy(), self.net.biases[-1].double().numpy()
        cost = np.zeros(len(self.low))
        cost[self.values] = row @ w
        matrix = np.zeros((len(self.rows), len(self.low)))
        for place, (coefficients, _, _) in enumerate(self.rows):
            matrix[place, list(coefficients)] = list(coefficients.values())
        ends = [[one[i] for one in self.rows] for i in (1, 2)]
        found = milp(
            cost,
            constraints=LinearConstraint(matrix, *ends),
            bounds=Bounds(self.low, self.high),
            integrality=np.array(self.whole),
            options={"mip_rel_gap": 0},
        )
        assert found.success, found.message
        return float(found.fun + row @ b)


def box(lower: Sequence[float], upper: Sequence[float]) -> Inputs:
    """Return one box of inputs (1, inputs)."""
    ends = Interval(*(torch.tensor(end, dtype=torch.float64)[None, None] for end in (list(lower), list(upper))))
    return Inputs(ends, ends.middle)
