"""No bound is believed because a method says so: points of the region are tried, some at random, some climbed to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from xai.robustness.bounds.interval import Interval
from xai.robustness.bounds.outputs import Bounding
from xai.robustness.bounds.rounding import Arithmetic
from xai.robustness.norms import steepest
from xai.robustness.regions import Region
from xai.robustness.smoothing.draws import answers
from xai.runtime import Runtime

RANDOM, CORNERS = 8, 8  # points of each region, beside the input itself
STEPS, STRIDE = 10, 2.5  # of a climb, and how far they go together, in radii
SLACK = 1e-9  # of a value's size: what float64 may round by where bounds are about real numbers
CLOSE, TINY = 1e-3, 1e-5  # of a number's size, and of the largest one's: what a float32 network may round by
LARGEST_BATCH = 128


@dataclass(frozen=True)
class Breach:
    """A point at which a network does what bounds say it cannot.

    Args:
        row: place of the region.
        point: place among its points.
        what: in words.
    """

    row: int
    point: int
    what: str


@dataclass(frozen=True)
class Probe:
    """What is bounded, computed at points, in the numbers that the bounds are about, if these are the network's.

    Args:
        bounding: whose bounds are tried.
        runtime: seed, memory.
    """

    bounding: Bounding
    runtime: Runtime

    def values(self, points: torch.Tensor) -> torch.Tensor:
        """Return what is bounded (n, numbers) float64 at points (n, ...), in float64 or as the network computes it.

        Where the bounds are about real numbers, a point at which the network itself is farther off than rounding
        explains gets the network's numbers: the bounds are of something else then, and must not pass for its.
        """
        with torch.no_grad():
            own = torch.cat([self._forward(part).double() for part in points.split(self._batch)])
            if self.bounding.arithmetic is Arithmetic.FLOAT:
                return own
            steps = torch.cat([self.bounding.program.value(part).flatten(1) for part in points.split(self._batch)])
        return torch.where(_close(steps, own)[:, None], steps, own)

    def answers(self, values: torch.Tensor) -> torch.Tensor:
        """Return the answers (n,) that scores (n, numbers) give; -1 where they are not finite."""
        return answers(self.bounding.model, values)

    def sampled(self, region: Region, x: torch.Tensor, keys: Sequence[str], name: str) -> torch.Tensor:
        """Return points (n, points, ...) of the region around each of x (n, ...): it, random ones, and corners.

        Args:
            region: whose points they are.
            x: inputs.
            keys: one for each input, from which its random numbers follow.
            name: of the region.
        """
        return torch.stack(
            [
                self._sampled(region, one[None], self.runtime.generator("bounds", name, key))
                for one, key in zip(x, keys, strict=True)
            ]
        )

    def climbed(self, region: Region, x: torch.Tensor, numbers: Sequence[int]) -> torch.Tensor:
        """Return points (2 x numbers, ...) of the region around x (1, ...) where numbers are high, then low."""
        signs = torch.tensor([1.0] * len(numbers) + [-1.0] * len(numbers), device=x.device)
        wanted = torch.tensor([*numbers, *numbers], device=x.device)
        ends = [self._climb(region, x, *part) for part in zip(signs.split(self._batch), wanted.split(self._batch))]  # noqa: B905  # both are split alike
        return torch.cat(ends)

    def breaches(self, found: Interval, able: torch.Tensor | None, values: torch.Tensor) -> list[Breach]:
        """Return for each region the first point, if any, that contradicts what is said of it.

        Args:
            found: bounds (n, numbers).
            able: (n, answers) which answers are said to be able to win; None where there are none.
            values: (n, points, numbers) of points in the regions.
        """
        lower, upper = (end.flatten(1)[:, None] for end in (found.lower, found.upper))
        slack = 0.0 if self.bounding.arithmetic is Arithmetic.FLOAT else SLACK * (1 + values.abs())
        nothing = values.isnan() & lower.isfinite() & upper.isfinite()
        outside = (values < lower - slack) | (values > upper + slack) | nothing
        told = [self._outside(place, found, values) for place in _first(outside)]
        if able is not None:
            given = self.answers(values.flatten(0, 1)).reshape(values.shape[:2])
            ruled_out = (given >= 0) & ~able.gather(1, given.clamp(min=0))
            told += [self._ruled_out(row, point, int(given[row, point])) for row, point in _first(ruled_out)]
        return list({breach.row: breach for breach in reversed(told)}.values())[::-1]

    @property
    def _batch(self) -> int:
        return self.runtime.batch(3 * self.bounding.model.bytes_per_input, LARGEST_BATCH)

    def _forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return what is bounded (n, numbers) as the network computes it."""
        model, layer = self.bounding.model, self.bounding.layer
        return (model.activation(x, model.layer(layer)) if layer else model(x)).flatten(1)

    def _sampled(self, region: Region, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        copies = x.expand(RANDOM, *x.shape[1:])
        drawn = region.draw(copies, generator)
        toward = torch.randn(CORNERS, *x.shape[1:], device=x.device, generator=generator)
        return torch.cat([region.project(x, x), drawn, self._moved(region, x, steepest(toward, region.norm))])

    def _climb(self, region: Region, x: torch.Tensor, signs: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        points = region.project(x, x).expand(len(wanted), *x.shape[1:]).clone()
        length = STRIDE / STEPS
        for _ in range(STEPS):
            with torch.enable_grad():
                points.requires_grad_()
                raised = (signs * self._forward(points).gather(1, wanted[:, None])[:, 0]).sum()
                (slope,) = torch.autograd.grad(raised, points, allow_unused=True, materialize_grads=True)
            points = points.detach()
            step = length * region.epsilon * steepest(slope, region.norm)
            points = region.project(x.expand_as(points), points + step)
        return points

    def _moved(self, region: Region, x: torch.Tensor, directions: torch.Tensor) -> torch.Tensor:
        return region.project(x.expand_as(directions), x + region.epsilon * directions)

    def _outside(self, place: tuple[int, int], found: Interval, values: torch.Tensor) -> Breach:
        row, point = place
        lower, upper, value = found.lower[row].flatten(), found.upper[row].flatten(), values[row, point]
        number = int(torch.fmax(lower - value, value - upper).nan_to_num(torch.inf).argmax())
        return Breach(
            row,
            point,
            f"number {number} is {float(value[number]):.9g} at a point of the region, and was said to lie in "
            f"[{float(lower[number]):.9g}, {float(upper[number]):.9g}]",
        )

    def _ruled_out(self, row: int, point: int, answer: int) -> Breach:
        name = self.bounding.model.answers[answer]
        return Breach(row, point, f"the answer is {name!r} at a point of the region, and was said to be unable to win")


def _close(steps: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
    """Say at which points (n,) numbers (n, numbers) differ by no more than float32 may."""
    size = own.nan_to_num(0.0, 0.0, 0.0).abs()
    room = CLOSE * size.amax(0) + TINY * size.amax()
    return (((steps - own).abs() <= room) | (steps == own) | (steps.isnan() & own.isnan())).all(1)


def _first(where: torch.Tensor) -> list[tuple[int, int]]:
    """Return row and point of the first place (n, points[, numbers]) that is true, of each row that has one."""
    flat = where if where.ndim == 2 else where.any(2)
    rows = flat.any(1).nonzero()[:, 0].tolist()
    return [(row, int(flat[row].byte().argmax())) for row in rows]
