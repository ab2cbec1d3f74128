"""Gradient ascent over octaves, with jitter, that refuses steps which lower what is to be raised."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn import functional as F

Objective = Callable[[torch.Tensor], torch.Tensor]
Picture = Callable[[torch.Tensor], torch.Tensor]
Shape = tuple[int, int]
LONGER = 1.5  # by what a step grows again after one that was accepted
AROUND_GREY = 0.1  # deviation of the noise a picture begins from, as a share of the input's range


@dataclass(frozen=True)
class Course:
    """How a picture is changed.

    Args:
        sizes: of the picture, (height, width), from the smallest to the full one.
        iterations: steps at each size.
        step: mean change of a pixel a step, in input units.
        jitter: pixels by which the picture is shifted at most.
        span: lowest and highest value of a pixel.
    """

    sizes: list[Shape]
    iterations: int
    step: float
    jitter: int
    span: tuple[float, float]

    @property
    def steps(self) -> int:
        """How many steps there are over all sizes."""
        return len(self.sizes) * self.iterations


@dataclass(frozen=True)
class Climbed:
    """What a climb reached.

    Args:
        picture: (channels, height, width) in input units.
        told: (steps + 1,) the objective, from the start on.
        refused: steps that would have lowered it.
        still: steps at which no gradient reached the picture.
    """

    picture: torch.Tensor
    told: torch.Tensor
    refused: int
    still: int

    @property
    def is_dead(self) -> bool:
        """Whether no gradient ever reached the picture."""
        return self.still == len(self.told) - 1

    @property
    def rose(self) -> bool:
        """Whether the objective is higher at the end."""
        return bool(self.told[-1] > self.told[0])


def climb(
    objective: Objective,
    begin: torch.Tensor,
    course: Course,
    tell: Callable[[int], None],
    added: Callable[[torch.Tensor, Shape], torch.Tensor] | None = None,
) -> Climbed:
    """Raise the objective from a picture: climb at each size, and carry the detail to the next.

    Args:
        objective: of inputs (1, channels, height, width).
        begin: (channels, height, width) in input units.
        course: how.
        tell: called with the number of each step.
        added: gives what a detail adds to a picture of that shape; default the detail, `resized`.
    """
    adding = added or resized
    full = (begin.shape[-2], begin.shape[-1])

    def shown(detail: torch.Tensor) -> torch.Tensor:
        return (begin + adding(detail, full)).clamp(*course.span)

    steps = Climb(objective, shown, course.jitter, course.step)
    detail = torch.zeros((begin.shape[0], *course.sizes[0]), device=begin.device)
    told = [steps.value(detail)]
    for size in course.sizes:
        detail = resized(detail, size)
        steps.begin(detail)
        for _ in range(course.iterations):
            tell(len(told) - 1)
            detail = steps.climbed(detail)
            told.append(steps.reached)
    return Climbed(shown(detail), torch.tensor(told), steps.refused, steps.still)


def octaves(shape: Shape, number: int, scale: float) -> list[Shape]:
    """Return the sizes of the picture from the smallest to the full one; those that coincide are left out."""
    height, width = shape
    powers = [scale**power for power in reversed(range(number))]
    return list(dict.fromkeys((max(1, round(height / power)), max(1, round(width / power))) for power in powers))


def resized(x: torch.Tensor, shape: Shape) -> torch.Tensor:
    """Return x (channels, height, width) at another size, smoothed where it shrinks."""
    return F.interpolate(x[None], size=shape, mode="bilinear", align_corners=False, antialias=True)[0]


def ascended(x: torch.Tensor, gradient: torch.Tensor, step: float) -> torch.Tensor:
    """Return x one step up; the gradient is divided by its mean size, so a pixel changes by `step` on average."""
    size = gradient.abs().mean()
    return x + step * gradient / size if size > 0 else x


def smoothed(x: torch.Tensor, shape: Shape) -> torch.Tensor:
    """Return x (channels, height, width), of that shape, with each frequency scaled by its inverse.

    What changes slowly weighs as much as in photographs, and single pixels little; white noise keeps its deviation.
    """
    down, across = torch.fft.fftfreq(shape[0], device=x.device), torch.fft.rfftfreq(shape[1], device=x.device)
    frequencies = torch.hypot(down[:, None], across[None]).clamp(min=1 / max(shape))
    scale = 1 / frequencies
    smooth: torch.Tensor = torch.fft.irfft2(torch.fft.rfft2(x) * scale / scale.square().mean().sqrt(), s=shape)
    return smooth


def greyish(shape: tuple[int, ...], span: tuple[float, float]) -> torch.Tensor:
    """Return grey with a little noise, of that shape, drawn from torch's own generator."""
    return _spread(AROUND_GREY * torch.randn(shape), span)


def clouds(shape: tuple[int, ...], span: tuple[float, float], deviation: float) -> torch.Tensor:
    """Return grey with `smoothed` noise of that deviation, a share of the span; drawn as `greyish` is."""
    return _spread(smoothed(deviation * torch.randn(shape), (shape[-2], shape[-1])), span)


def _spread(noise: torch.Tensor, span: tuple[float, float]) -> torch.Tensor:
    """Return noise around the middle of a span, cut to it."""
    low, high = span
    return low + (high - low) * (0.5 + noise).clamp(0, 1)


class Climb:
    """Gradient ascent that refuses steps which lower the objective.

    The gradient is taken at a shifted picture, so that no place is special; the objective counts as it stands. After
    a refused step the next is half as long and not shifted.

    Args:
        objective: of inputs (1, channels, height, width).
        shown: the input (channels, height, width) that a detail gives.
        jitter: pixels by which the picture is shifted at most.
        step: mean change of a pixel.
    """

    def __init__(self, objective: Objective, shown: Picture, jitter: int, step: float) -> None:
        self._objective = objective
        self._shown = shown
        self._jitter = jitter
        self._longest = step
        self.refused = 0
        self.still = 0

    def value(self, detail: torch.Tensor) -> float:
        """Return the objective for a detail."""
        with torch.no_grad():
            return float(self._objective(self._shown(detail)[None]))

    def begin(self, detail: torch.Tensor) -> None:
        """Start anew from a detail, with the longest step."""
        self._step, self._steady, self.reached = self._longest, False, self.value(detail)

    def climbed(self, detail: torch.Tensor) -> torch.Tensor:
        """Return the detail one step up, or the same if that would lower the objective."""
        moved = detail.detach().requires_grad_()
        picture = self._shown(moved)
        value = self._objective((picture if self._steady else _shifted(picture, self._jitter))[None])
        (gradient,) = torch.autograd.grad(value, moved)
        self.still += not gradient.any()
        candidate = ascended(detail, gradient, self._step)
        value_there = self.value(candidate)
        self._steady = value_there <= self.reached
        if self._steady:
            self.refused += 1
            self._step /= 2
            return detail
        self._step, self.reached = min(LONGER * self._step, self._longest), value_there
        return candidate


def _shifted(x: torch.Tensor, jitter: int) -> torch.Tensor:
    """Return x (channels, height, width) rolled by up to that many pixels; what follows is rolled back by autograd."""
    rows, columns = torch.randint(-jitter, jitter + 1, (2,)).tolist()
    return x.roll((rows, columns), dims=(-2, -1))
