"""Linear constraints of the outputs: exact as they are written, and as float64 numbers that proofs are about."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import cast

import torch

NAMED = 3  # rows that a name writes out


class FaultError(Exception):
    """What is wrong with a text, and where.

    Args:
        at: place in the text.
        words: expected, received, remedy.
    """

    def __init__(self, at: int, words: str) -> None:
        super().__init__(words)
        self.at, self.words = at, words


@dataclass(frozen=True, eq=False, slots=True)
class Comparison:
    """The sum of coefficients times variables is at most the limit; below it if strict.

    Args:
        kind: X for inputs, Y for outputs, "" where no variable is left.
        coefficients: by the variable's number; none is 0.
        limit: exact.
        strict: whether the limit itself is left out.
        at: place in the text.
    """

    kind: str
    coefficients: dict[int, Fraction]
    limit: Fraction
    strict: bool
    at: int = 0

    @property
    def is_true(self) -> bool:
        """Whether it holds; of one without variables only."""
        return self.limit > 0 or (self.limit == 0 and not self.strict)

    def __str__(self) -> str:
        terms = "".join(
            f" {'-' if value < 0 else '+'} {'' if abs(value) == 1 else f'{float(abs(value)):.6g} '}{self.kind}_{number}"
            for number, value in sorted(self.coefficients.items(), key=lambda term: (term[1] < 0, term[0]))
        )
        return f"{terms.strip().removeprefix('+ ')} {'<' if self.strict else '<='} {float(self.limit):.9g}"


@dataclass(frozen=True, eq=False)
class Rows:
    """An output is unsafe where every row holds at once.

    Args:
        comparisons: a row each, as it is written.
        outputs: how many.
    """

    comparisons: tuple[Comparison, ...]
    outputs: int

    def __post_init__(self) -> None:
        """Raise FaultError at once for what float64 cannot hold."""
        _ = self.matrix, self.limits

    @cached_property
    def matrix(self) -> torch.Tensor:
        """Coefficients (rows, outputs) float64, exact: a row is what is written, times a positive number if need be."""
        matrix = torch.zeros(len(self.comparisons), self.outputs, dtype=torch.float64)
        for index, row in enumerate(self.comparisons):
            factor = _scale(row)
            for number, value in row.coefficients.items():
                matrix[index, number] = float(value * factor)
        return matrix

    @cached_property
    def limits(self) -> torch.Tensor:
        """Limits (rows,) float64, rounded up: unsafe for proofs is matrix @ y <= limits, also where < is written."""
        return torch.tensor([upwards(row.limit * _scale(row), row.at) for row in self.comparisons], dtype=torch.float64)

    def violated(self, y: Iterable[float]) -> bool:
        """Say whether an output (outputs,) satisfies every row as it is written, in exact arithmetic.

        An output that is not finite violates nothing: it is no number.
        """
        outputs = floats(y)
        if not all(map(math.isfinite, outputs)):
            return False
        exact = {number: Fraction(outputs[number]) for row in self.comparisons for number in row.coefficients}
        sums = (sum(value * exact[number] for number, value in row.coefficients.items()) for row in self.comparisons)
        return all(
            found < row.limit or (found == row.limit and not row.strict)
            for row, found in zip(self.comparisons, sums, strict=True)
        )

    @property
    def name(self) -> str:
        """What is unsafe, in words."""
        if len(self.comparisons) > NAMED:
            return f"{len(self.comparisons)} constraints of the outputs"
        return " and ".join(map(str, self.comparisons))


def floats(values: Iterable[float]) -> list[float]:
    """Return numbers of any kind as float64, which holds every float32 exactly."""
    if isinstance(values, torch.Tensor):
        return cast("list[float]", values.detach().double().flatten().tolist())
    return [float(value) for value in values]


def upwards(value: Fraction, at: int = 0) -> float:
    """Return the lowest float64 that is not below a value; raise FaultError if there is none."""
    try:
        found = float(value)
    except OverflowError:
        raise FaultError(at, "expected numbers that float64 can hold, received one beyond 1.8e308") from None
    return found if Fraction(found) >= value else math.nextafter(found, math.inf)


def _scale(row: Comparison) -> Fraction:
    """Return a positive number that makes all coefficients of a row float64: 1 where they are."""
    values = list(row.coefficients.values())
    if all(map(_is_exact, values)):
        return Fraction(1)
    factor = Fraction(math.lcm(*(value.denominator for value in values)))
    factor /= math.gcd(*(int(value * factor) for value in values))
    if not all(_is_exact(value * factor) for value in values):
        raise FaultError(
            row.at,
            "expected coefficients that float64 holds, if need be after all of a row are multiplied by one number; "
            "received more digits: write them with fewer",
        )
    return factor


def _is_exact(value: Fraction) -> bool:
    try:
        return Fraction(float(value)) == value
    except OverflowError:
        return False
