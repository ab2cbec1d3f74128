"""Products of two values of the network, number by number or as matrices (McCormick 1976)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch

from xai.robustness.bounds.interval import Interval
from xai.robustness.bounds.operation import Operation, Pulled, Relaxation, per_sample, total
from xai.robustness.bounds.rounding import Rounding


class Bilinear(Operation):
    """A product of two values; a subclass's `terms` are the products that make an output."""

    terms: int = 1

    @abstractmethod
    def multiply(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return the product of x and y, samples first, rows before them where there are any."""

    @abstractmethod
    def back(self, rows: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the gradient of rows times the product, of x with that y and of y with that x."""

    def value(self, *x: torch.Tensor) -> torch.Tensor:
        """Return the output."""
        return self.multiply(*x)

    def interval(self, rounding: Rounding, *boxes: Interval) -> Interval:
        """Return the product of the middles, and around it what the radii can make of it (Rump 1999)."""
        x, y = boxes
        radius, reach = x.width / 2, y.width / 2
        centre = self.multiply(x.middle, y.middle)
        room = self.multiply(x.middle.abs(), reach) + self.multiply(radius, y.middle.abs() + reach)
        sizes = self.multiply(x.magnitude, y.magnitude)
        return Interval(centre - room, centre + room).widened(rounding.forward(sizes, 4 * self.terms + 16))

    def relax(self, *boxes: Interval) -> Relaxation:
        """Return planes through two corners of each pair of boxes."""
        return Planes(self, *boxes)


@dataclass(frozen=True)
class Planes(Relaxation):
    """x y >= lx y + ly x - lx ly, and x y <= ux y + ly x - ux ly."""

    step: Bilinear
    x: Interval
    y: Interval

    def pull(self, rows: torch.Tensor) -> Pulled:
        """Return the plane below where rows are positive, the plane above where they are negative."""
        (lx, ux), ly = (end.to(rows.dtype) for end in (self.x.lower, self.x.upper)), self.y.lower.to(rows.dtype)
        positive, negative = rows.clamp(min=0), rows.clamp(max=0)
        of_x, y_below = self.step.back(positive, lx, ly)
        more_x, y_above = self.step.back(negative, ux, ly)
        constant = total(positive, self.step.multiply(self.x.lower, self.y.lower))
        constant = constant + total(negative, self.step.multiply(self.x.upper, self.y.lower))
        return [of_x + more_x, y_below + y_above], -constant

    def sizes(self) -> torch.Tensor:
        """Return three products of sizes."""
        return 3 * self.network_sizes()

    def network_sizes(self) -> torch.Tensor:
        """Return the product of sizes."""
        return self.step.multiply(self.x.magnitude, self.y.magnitude)


class Times(Bilinear):
    """Numbers times numbers; both values have the output's shape."""

    def multiply(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return the product."""
        return x * y

    def back(self, rows: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return rows times the other."""
        return rows * y, rows * x

    def interval(self, rounding: Rounding, *boxes: Interval) -> Interval:
        """Return the extremes of the four products of ends."""
        x, y = boxes
        return rounding.outwards(_extremes(x, y), 1).with_signs(
            _extremes(*(Interval(box.lower.sign(), box.upper.sign()) for box in boxes))
        )


def _extremes(x: Interval, y: Interval) -> Interval:
    """Return the least and the greatest of the four products of ends."""
    ends = torch.stack([a * b for a in (x.lower, x.upper) for b in (y.lower, y.upper)])
    return Interval(ends.amin(0), ends.amax(0))


class MatrixProduct(Bilinear):
    """Matrices times matrices, over the last two axes; the axes before are equal.

    Args:
        inner: how many products make an output.
    """

    def __init__(self, inner: int) -> None:
        self.terms = inner

    def multiply(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return the product."""
        return x @ y

    def back(self, rows: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return rows times the other, transposed."""
        return rows @ y.mT, x.mT @ rows


class Contraction(Bilinear):
    """Any product of two values that is linear in each, its gradients by automatic differentiation.

    Args:
        function: of both for a batch of one; with no negative weight.
        terms: how many products make an output.
    """

    def __init__(self, function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], terms: int) -> None:
        self._function = function
        self.terms = terms

    def multiply(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return the product."""
        return per_sample(self._function)(x, y)

    def back(self, rows: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the gradients, sample by sample and row by row."""

        def gradients(row: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            of_x, of_y = torch.func.vjp(self._function, a, b)[1](row)
            return of_x, of_y

        of_x, of_y = torch.vmap(torch.vmap(gradients), in_dims=(0, None, None))(rows, x, y)
        return of_x, of_y
