"""The inputs that a bound is about, and the lowest value of a linear function over them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from xai.robustness.bounds.interval import Interval
from xai.robustness.bounds.rounding import HALF, gamma
from xai.robustness.norms import Norm

HALVINGS = 40


@dataclass(frozen=True)
class Inputs:
    """For each sample a box, and a ball in it where the norm is not linf.

    Args:
        box: (batch, ...) float64.
        centre: (batch, ...) float64 of the ball.
        norm: of the ball; linf where the box is all.
        radius: of the ball.
    """

    box: Interval
    centre: torch.Tensor
    norm: Norm = Norm.LINF
    radius: torch.Tensor | None = None

    def __len__(self) -> int:
        """Return how many samples there are."""
        return len(self.centre)

    def sample(self, number: int) -> Inputs:
        """Return one sample's inputs."""
        box = Interval(self.box.lower[number, None], self.box.upper[number, None])
        radius = None if self.radius is None else self.radius[number, None]
        return Inputs(box, self.centre[number, None], self.norm, radius)

    def repeated(self, count: int) -> Inputs:
        """Return one sample's inputs so many times."""
        lower, upper, centre = (
            part.expand(count, *part.shape[1:]) for part in (self.box.lower, self.box.upper, self.centre)
        )
        radius = None if self.radius is None else self.radius.expand(count)
        return Inputs(Interval(lower, upper), centre, self.norm, radius)

    def cropped(self, part: Callable[[torch.Tensor], torch.Tensor]) -> Inputs:
        """Return the inputs of a part of the numbers; of boxes only."""
        box = Interval(part(self.box.lower), part(self.box.upper))
        return Inputs(box, part(self.centre))

    @property
    def is_box(self) -> bool:
        """Whether every input of the box belongs to them."""
        return self.norm is Norm.LINF

    def lowest(self, rows: torch.Tensor) -> torch.Tensor:
        """Return what rows (rows, batch, ...) times an input is never below: (rows, batch) float64."""
        rows = rows.double().flatten(2)
        lower, upper, centre = (part.flatten(1) for part in (self.box.lower, self.box.upper, self.centre))
        if self.is_box:
            found = _dot(rows.clamp(min=0), lower) + _dot(rows.clamp(max=0), upper)
        else:
            room = torch.where(rows > 0, centre - lower, upper - centre)
            found = _dot(rows, centre) - self._largest(rows.abs(), room)
        sizes = _dot(rows.abs(), torch.maximum(lower.abs(), upper.abs()))
        return found - sizes * (8 * gamma(rows.shape[-1] + 16, HALF[torch.float64]))

    def _largest(self, slope: torch.Tensor, room: torch.Tensor) -> torch.Tensor:
        """Return an upper bound (rows, batch) of slope times change, for changes of 0 to room within the ball.

        By weak duality each multiplier of the ball gives one; the best is found by halving; the box is another.
        """
        assert self.radius is not None
        radius = self.radius.expand(slope.shape[:2])
        low, high = self._multipliers(slope, room, radius)
        found = torch.fmin(self._dual(slope, room, high, radius), self._dual(slope, room, low, radius))
        found = torch.fmin(found, (slope * room).sum(-1))
        return torch.where(radius > 0, found, torch.zeros_like(found))

    @torch.no_grad()  # at the best multiplier the bound does not follow it
    def _multipliers(
        self, slope: torch.Tensor, room: torch.Tensor, radius: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return two multipliers of the ball that the best one lies between."""
        low = torch.zeros_like(radius)
        steepest = slope.amax(-1)
        high = steepest if self.norm is Norm.L1 else slope.square().sum(-1).sqrt() / radius.clamp(min=1e-300)
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            fits = self._size(self._best(slope, room, middle)) <= radius
            low, high = torch.where(fits, low, middle), torch.where(fits, middle, high)
        return low, high

    def _best(self, slope: torch.Tensor, room: torch.Tensor, multiplier: torch.Tensor) -> torch.Tensor:
        """Return the change that is best at that price of its size."""
        if self.norm is Norm.L1:
            return torch.where(slope > multiplier[..., None], room, torch.zeros_like(room))
        return torch.minimum(slope / (2 * multiplier[..., None]).clamp(min=1e-300), room)

    def _size(self, change: torch.Tensor) -> torch.Tensor:
        return change.sum(-1) if self.norm is Norm.L1 else change.square().sum(-1).sqrt()

    def _dual(
        self, slope: torch.Tensor, room: torch.Tensor, multiplier: torch.Tensor, radius: torch.Tensor
    ) -> torch.Tensor:
        change = self._best(slope, room, multiplier)
        if self.norm is Norm.L1:
            return ((slope - multiplier[..., None]) * change).sum(-1) + multiplier * radius
        paid = multiplier[..., None] * change.square()
        return (slope * change - paid).sum(-1) + multiplier * radius.square()


def _dot(rows: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    return torch.einsum("rbn,bn->rb", rows, values)
