"""The smallest value of a small piecewise linear network over a box, with what proves it; nothing of xai is used.

A network becomes affine expressions of variables: its inputs, and the value of each ReLU that may be on either side
of 0. Every other bend is written with ReLUs. Branch and bound over their sides (Tjeng 2019 leaves it to a solver of
mixed-integer programs, whose tolerances of 1e-6 are too wide for margins of rounding size): below, a part's linear
program is believed only for its multipliers, whose bound is computed anew (Neumaier and Shcherbina 2004); above, the
network's value at a point.
"""

from __future__ import annotations

import copy
import heapq
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.optimize import linprog
from torch import nn

ROUNDING = 1e-13  # of the sizes that are summed: some hundred roundings of float64
GAP = 1e-13  # of the sizes of the outputs: what is near enough
PENALTY = 1e4  # for each unit by which a part's constraints are broken, so that no program is without solution
AFFINE = (nn.Linear, nn.Conv2d, nn.AvgPool2d, nn.BatchNorm2d, nn.Flatten)


class Shortcut(nn.Module):
    """An input that goes past some layers and is added to what they make of it."""

    def __init__(self, *inner: nn.Module) -> None:
        super().__init__()
        self.inner = nn.Sequential(*inner)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.inner(x)


class Absolute(nn.Module):
    """The size of every number."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.abs()


@dataclass(frozen=True)
class Expressions:
    """Numbers that are affine in the variables.

    Args:
        matrix: (numbers, variables).
        offset: (numbers,).
        shape: of the numbers in the network, without the batch.
    """

    matrix: np.ndarray
    offset: np.ndarray
    shape: tuple[int, ...]

    def wide(self, variables: int) -> np.ndarray:
        """Return the matrix for more variables."""
        return np.pad(self.matrix, ((0, 0), (0, variables - self.matrix.shape[1])))

    def __add__(self, other: Expressions) -> Expressions:
        variables = max(self.matrix.shape[1], other.matrix.shape[1])
        return replace(self, matrix=self.wide(variables) + other.wide(variables), offset=self.offset + other.offset)

    def times(self, factor: float, more: float = 0.0) -> Expressions:
        return replace(self, matrix=factor * self.matrix, offset=factor * self.offset + more)

    def at(self, places: np.ndarray) -> Expressions:
        return Expressions(self.matrix[places], self.offset[places], (len(places),))


@dataclass(frozen=True)
class Least:
    """What is known of a smallest value.

    Args:
        lower: no input gives less.
        upper: an input gives no more.
        parts: linear programs that were solved.
    """

    lower: float
    upper: float
    parts: int


@dataclass(frozen=True)
class _Bend:
    """A ReLU that may be on either side of 0: a variable is the larger of 0 and an expression between two ends."""

    matrix: np.ndarray
    offset: float
    low: float
    high: float
    variable: int


class Exact:
    """A network over a box.

    Args:
        net: of the layers that are known here, in a Sequential.
        shape: of an input.
        lower, upper: (inputs,) float64.
    """

    def __init__(self, net: nn.Module, shape: tuple[int, ...], lower: np.ndarray, upper: np.ndarray) -> None:
        self._low, self._high = list(map(float, lower)), list(map(float, upper))
        self._bends: list[_Bend] = []
        first = Expressions(np.eye(len(lower)), np.zeros(len(lower)), shape)
        self.output = self._through(copy.deepcopy(net).double().eval(), first)
        self.inputs = len(lower)

    def _through(self, module: nn.Module, x: Expressions) -> Expressions:
        match module:
            case nn.Sequential():
                for part in module:
                    x = self._through(part, x)
                return x
            case Shortcut():
                return x + self._through(module.inner, x)
            case nn.ReLU():
                return self._rectified(x)
            case nn.LeakyReLU():
                slope = module.negative_slope
                return self._rectified(x).times(1 - slope) + x.times(slope)
            case Absolute():
                return self._rectified(x).times(2) + x.times(-1)
            case nn.Hardtanh():
                least, most = module.min_val, module.max_val
                return self._rectified(x.times(1, -least)).times(1, least) + self._rectified(x.times(1, -most)).times(
                    -1
                )
            case nn.MaxPool2d():
                return self._largest(module, x)
        assert isinstance(module, AFFINE), module
        return _affine(module, x)

    def _largest(self, module: nn.MaxPool2d, x: Expressions) -> Expressions:
        places = torch.arange(len(x.offset)).reshape(x.shape)
        windows = places.unfold(1, module.kernel_size, module.stride).unfold(2, module.kernel_size, module.stride)
        first, *others = windows.flatten(3).flatten(0, 2).T.numpy()
        most = x.at(first)
        for other in others:
            most = most + self._rectified(x.at(other) + most.times(-1))
        return replace(most, shape=tuple(windows.shape[:3]))

    def _span(self, matrix: np.ndarray, offset: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the ends of expressions by interval arithmetic, rounded outwards."""
        low, high = np.array(self._low)[: matrix.shape[1]], np.array(self._high)[: matrix.shape[1]]
        up, down = matrix.clip(0), matrix.clip(None, 0)
        room = ROUNDING * (np.abs(matrix) @ np.maximum(np.abs(low), np.abs(high)) + np.abs(offset))
        return up @ low + down @ high + offset - room, up @ high + down @ low + offset + room

    def _rectified(self, x: Expressions) -> Expressions:
        ends = self._span(x.matrix, x.offset)
        known = len(self._low)
        matrix, offset = np.zeros((len(x.offset), known)), np.zeros(len(x.offset))
        for number, (low, high) in enumerate(zip(*ends, strict=True)):
            if low >= 0:
                matrix[number, : x.matrix.shape[1]], offset[number] = x.matrix[number], x.offset[number]
            elif high > 0:
                matrix = np.pad(matrix, ((0, 0), (0, 1)))
                matrix[number, -1] = 1
                self._bends.append(_Bend(x.matrix[number], float(x.offset[number]), low, high, len(self._low)))
                self._low.append(0.0)
                self._high.append(high)
        return Expressions(matrix, offset, x.shape)

    @property
    def bends(self) -> int:
        """ReLUs that may be on either side of 0."""
        return len(self._bends)

    def value(self, points: np.ndarray) -> np.ndarray:
        """Return outputs (n, outputs) at points (n, inputs), by the expressions."""
        values = np.zeros((len(points), len(self._low)))
        values[:, : self.inputs] = points
        for bend in self._bends:
            values[:, bend.variable] = (values[:, : len(bend.matrix)] @ bend.matrix + bend.offset).clip(0)
        return values @ self.output.wide(len(self._low)).T + self.output.offset

    def least(self, rows: np.ndarray, limits: np.ndarray, most: int = 4000) -> Least:
        """Return the smallest value of max_i (rows_i . output - limits_i) over the box.

        Args:
            rows: (rows, outputs).
            limits: (rows,).
            most: linear programs; the two ends lie apart where those are not enough.
        """
        return _Search(self, rows, limits).go(most)


def _affine(module: nn.Module, x: Expressions) -> Expressions:
    with torch.no_grad():
        zero = module(torch.zeros(1, *x.shape, dtype=torch.float64))
        basis = torch.eye(len(x.offset), dtype=torch.float64).reshape(-1, *x.shape)
        matrix = (module(basis) - zero).flatten(1).T.numpy()
    return Expressions(matrix @ x.matrix, matrix @ x.offset + zero.flatten().numpy(), tuple(zero.shape[1:]))


class _Search:
    """Branch and bound; the last two variables are the largest row, and by how much constraints are broken."""

    def __init__(self, exact: Exact, rows: np.ndarray, limits: np.ndarray) -> None:
        self.exact, self.rows, self.limits = exact, rows, limits
        self.bends = exact._bends
        matrix = rows @ exact.output.wide(len(exact._low))
        offset = rows @ exact.output.offset - limits
        low, high = exact._span(matrix, offset)
        self.low, self.high = [np.array([*ends, t]) for ends, t in ((exact._low, low.max()), (exact._high, high.max()))]
        self.size = 1 + max(abs(low).max(), abs(high).max())
        self.matrix, self.most = self._constraints(matrix, offset)

    def _constraints(self, rows: np.ndarray, offset: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the constraints of the whole region: each ReLU's two lines, then the rows."""
        matrix, most = np.zeros((2 * self.exact.bends + len(rows), len(self.low))), []
        for place, bend in enumerate(self.bends):
            matrix[2 * place, : len(bend.matrix)] = bend.matrix
            matrix[2 * place, bend.variable] = -1
            most += [-bend.offset, 0.0]
            slope = bend.high / (bend.high - bend.low)
            matrix[2 * place + 1], most[-1] = self._above(bend, slope, bend.low)
        matrix[2 * self.exact.bends :, :-1] = rows
        matrix[2 * self.exact.bends :, -1] = -1
        return matrix, np.array([*most, *-offset])

    def _above(self, bend: _Bend, slope: float, low: float) -> tuple[np.ndarray, float]:
        """Return the constraint that a ReLU is at most slope * (expression - low)."""
        row = np.zeros(len(self.low))
        row[: len(bend.matrix)] = -slope * bend.matrix
        row[bend.variable] = 1
        return row, slope * (bend.offset - low)

    def go(self, most: int) -> Least:
        waiting: list[tuple[float, int, dict[int, bool]]] = [(-np.inf, 0, {})]
        upper, lowest, parts = self._reached(self._corners()), np.inf, 0
        while waiting and waiting[0][0] < upper - GAP * self.size and parts < most:
            _, _, sides = heapq.heappop(waiting)
            bound, values = self._bounded(sides)
            parts += 1
            upper = min(upper, self._reached(values[None, : self.exact.inputs]))
            if len(sides) == len(self.bends):
                lowest = min(lowest, bound)
                continue
            cut = self._cut(values, sides)
            for number, side in enumerate((False, True)):
                heapq.heappush(waiting, (bound, 2 * parts + number, {**sides, cut: side}))
        return Least(min(lowest, upper, *(one[0] for one in waiting[:1])), upper, parts)

    def _corners(self) -> np.ndarray:
        count = self.exact.inputs
        shares = np.random.default_rng(0).uniform(size=(256, count)).round(1)
        return self.low[:count] + (self.high - self.low)[:count] * shares

    def _reached(self, points: np.ndarray) -> float:
        count = self.exact.inputs
        inside = points.clip(self.low[:count], self.high[:count])
        values = (self.exact.value(inside) @ self.rows.T - self.limits).max(1)
        return float(values.min()) + ROUNDING * self.size

    def _bounded(self, sides: dict[int, bool]) -> tuple[float, np.ndarray]:
        """Return a lower bound of a part, and the variables where its linear program is least."""
        matrix, most, high = self.matrix, self.most.copy(), self.high.copy()
        if any(sides.values()):
            matrix = matrix.copy()
        for place, active in sides.items():
            if active:
                matrix[2 * place + 1], most[2 * place + 1] = self._above(self.bends[place], 1.0, 0.0)
            else:
                high[self.bends[place].variable] = 0.0
        cost = np.zeros(len(self.low) + 1)
        cost[-2:] = 1.0, PENALTY
        broken = np.where(np.arange(len(most)) < 2 * len(self.bends), -1.0, 0.0)
        ends = [*zip(self.low, high, strict=True), (0.0, None)]
        tight = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}
        found = linprog(cost, np.column_stack([matrix, broken]), most, bounds=ends, method="highs", options=tight)
        if not found.success:  # multipliers of nothing prove what the box does
            return self._proved(cost[:-1], np.zeros(len(most)), matrix, most, high), (self.low + high) / 2
        return self._proved(cost[:-1], -found.ineqlin.marginals.clip(None, 0), matrix, most, high), found.x[:-1]

    def _proved(
        self, cost: np.ndarray, prices: np.ndarray, matrix: np.ndarray, most: np.ndarray, high: np.ndarray
    ) -> float:
        """Return what multipliers, whatever they are, prove of a part."""
        left = cost + prices @ matrix
        least = np.minimum(left * self.low, left * high).sum() - prices @ most
        ends = np.maximum(np.abs(self.low), np.abs(high))
        sizes = (cost + prices @ np.abs(matrix)) @ ends + prices @ np.abs(most)
        return float(least - ROUNDING * sizes)

    def _cut(self, values: np.ndarray, sides: dict[int, bool]) -> int:
        """Return the ReLU that the linear program breaks most."""

        def off(bend: _Bend) -> float:
            own = float(values[: len(bend.matrix)] @ bend.matrix) + bend.offset
            return abs(values[bend.variable] - max(own, 0.0))

        return max((place for place in range(len(self.bends)) if place not in sides), key=lambda i: off(self.bends[i]))
