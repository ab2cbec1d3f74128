"""Deep dream."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from pydantic import Field
from torch.nn import functional as F

from xai.errors import UsageError
from xai.explainers.base import Visualization, Visualizer
from xai.models.model import Model
from xai.models.targets import Target
from xai.registry import Kind, Method, Need
from xai.reports.records import Value
from xai.runtime import Runtime

Objective = Callable[[torch.Tensor], torch.Tensor]
Picture = Callable[[torch.Tensor], torch.Tensor]
LONGER = 1.5  # by what a step grows again after one that was accepted
AROUND_GREY = 0.1  # deviation of the noise a dream begins from, as a share of the input's range
FULL_STEP = 1.5 / 255  # of the range: the step of the first published code


def octaves(shape: tuple[int, int], number: int, scale: float) -> list[tuple[int, int]]:
    """Return the sizes of the picture from the smallest to the full one; those that coincide are left out."""
    height, width = shape
    powers = [scale**power for power in reversed(range(number))]
    return list(dict.fromkeys((max(1, round(height / power)), max(1, round(width / power))) for power in powers))


def resized(x: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    """Return x (channels, height, width) at another size, smoothed where it shrinks."""
    return F.interpolate(x[None], size=shape, mode="bilinear", align_corners=False, antialias=True)[0]


def ascended(x: torch.Tensor, gradient: torch.Tensor, step: float) -> torch.Tensor:
    """Return x one step up; the gradient is divided by its mean size, so a pixel changes by `step` on average."""
    size = gradient.abs().mean()
    return x + step * gradient / size if size > 0 else x


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


class DeepDream(Visualizer):
    """Deep dream (Mordvintsev et al. 2015): gradient ascent over octaves, with jitter."""

    about = Method(
        name="deepdream",
        title="Deep dream",
        summary="A picture, made by gradient ascent, that raises the class's output or a channel of a layer.",
        limits=(
            "It is one of many such pictures and looks like nothing the model was trained on. It shows what raises a "
            "number, not what the model looks for in real pictures, and says nothing about any one input's answer."
        ),
        source="Mordvintsev et al. 2015, Inceptionism: Going Deeper into Neural Networks",
        kind=Kind.HEURISTIC,
        needs=frozenset({Need.GRADIENTS, Need.GRAPH}),
    )

    start: Literal["noise", "image"] = Field(default="noise", description="where it begins: seeded noise, or the image")
    layer: str | None = Field(default=None, description="layer to raise; default the target's output")
    channel: int | None = Field(default=None, ge=0, description="of the layer; default all of them, squared")
    octaves: int = Field(default=4, ge=1, le=16, description="sizes of the picture, from small to full")
    scale: float = Field(default=1.4, gt=1, le=4, description="ratio of one size to the next")
    iterations: int = Field(default=10, ge=1, le=10_000, description="steps at each size")
    step: float = Field(default=FULL_STEP, gt=0, le=1, description="mean change of a pixel a step, as a share of range")
    jitter: int | None = Field(
        default=None, ge=0, description="pixels by which the picture is shifted at most; default a seventh of its side"
    )

    def about_input(self) -> bool:
        """Say whether it begins from the input."""
        return self.start == "image"

    def about_target(self) -> bool:
        """Say whether it raises an output."""
        return self.layer is None

    def check(self, model: Model) -> None:
        """Raise UsageError if layer or channel do not exist."""
        if self.layer is None:
            if self.channel is not None:
                raise UsageError("deepdream.channel was given without deepdream.layer; name the layer too")
            return
        if model.graph is None:
            return
        layer = model.layer(self.layer)
        if self.channel is not None and self.channel >= layer.channels:
            raise UsageError(
                f"deepdream.channel is {self.channel}; layer {self.layer!r} has {layer.channels}, numbered from 0"
            )

    def visualize(self, model: Model, x: torch.Tensor, target: Target, runtime: Runtime) -> Visualization:
        """Climb at each size, and carry the detail to the next."""
        low, high = model.input.span
        begin = x if self.start == "image" else _noise(x, low, high)
        full = (x.shape[-2], x.shape[-1])
        sizes = octaves(full, self.octaves, self.scale)
        jitter = min(full) // 7 if self.jitter is None else self.jitter
        objective, what = self._objective(model, target)

        def shown(detail: torch.Tensor) -> torch.Tensor:
            return (begin + resized(detail, full)).clamp(low, high)

        climb = Climb(objective, shown, jitter, self.step * (high - low))
        detail = torch.zeros((x.shape[0], *sizes[0]), device=x.device)
        told = [climb.value(detail)]
        for size in sizes:
            detail = resized(detail, size)
            climb.begin(detail)
            for _ in range(self.iterations):
                runtime.progress(self.about.title, len(told) - 1, len(sizes) * self.iterations)
                detail = climb.climbed(detail)
                told.append(climb.reached)
        steps = f"of {len(told) - 1}"
        return Visualization(
            shown(detail),
            torch.tensor(told),
            chosen={"jitter": jitter, "sizes": ", ".join(f"{rows} x {columns}" for rows, columns in sizes)},
            values={
                "raised": Value(value=what),
                "steps refused": Value(value=climb.refused, unit=steps),
                "steps without gradient": Value(value=climb.still, unit=steps),
            },
            notes=_notes(told, climb.still),
        )

    def _objective(self, model: Model, target: Target) -> tuple[Objective, str]:
        """Return what is raised, of inputs (1, channels, height, width), and its name."""
        if self.layer is None:
            return (lambda x: target(model(x)).sum()), f"output for {target.name}"
        layer, channel = model.layer(self.layer), self.channel

        def value(x: torch.Tensor) -> torch.Tensor:
            activation = model.activation(x, layer)
            return activation.square().mean() if channel is None else layer.by_channel(activation)[:, channel].mean()

        if channel is None:
            return value, f"mean square of layer {layer.name}"
        return value, f"mean of channel {channel} of layer {layer.name}"


def _noise(x: torch.Tensor, low: float, high: float) -> torch.Tensor:
    """Return grey with a little seeded noise, of the shape of x."""
    noise = 0.5 + AROUND_GREY * torch.randn(x.shape)
    return (low + (high - low) * noise.clamp(0, 1)).to(x.device)


def _shifted(x: torch.Tensor, jitter: int) -> torch.Tensor:
    """Return x (channels, height, width) rolled by up to that many pixels; what follows is rolled back by autograd."""
    rows, columns = torch.randint(-jitter, jitter + 1, (2,)).tolist()
    return x.roll((rows, columns), dims=(-2, -1))


def _notes(told: list[float], still: int) -> tuple[str, ...]:
    if still == len(told) - 1:
        return ("No gradient reached the picture: what was to be raised is dead here, so nothing was.",)
    if told[-1] <= told[0]:
        return ("The objective did not rise: try more iterations, or a smaller step.",)
    return ()
