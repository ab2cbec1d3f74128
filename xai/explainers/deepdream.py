"""Deep dream."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field

from xai.ascent.climb import Climbed, Course, Objective, climb, greyish, octaves
from xai.errors import UsageError
from xai.explainers.base import Visualization, Visualizer
from xai.models.model import Model
from xai.models.targets import Target
from xai.registry import Kind, Method, Need
from xai.reports.records import Value
from xai.runtime import Runtime

FULL_STEP = 1.5 / 255  # of the range: the step of the first published code


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
        low, high = span = model.input.span
        begin = x if self.start == "image" else greyish(tuple(x.shape), span).to(x.device)
        full = (x.shape[-2], x.shape[-1])
        jitter = min(full) // 7 if self.jitter is None else self.jitter
        sizes = octaves(full, self.octaves, self.scale)
        course = Course(sizes, self.iterations, self.step * (high - low), jitter, span)
        objective, what = self._objective(model, target)
        climbed = climb(objective, begin, course, lambda done: runtime.progress(self.about.title, done, course.steps))
        steps = f"of {course.steps}"
        return Visualization(
            climbed.picture,
            climbed.told,
            chosen={"jitter": jitter, "sizes": ", ".join(f"{rows} x {columns}" for rows, columns in sizes)},
            values={
                "raised": Value(value=what),
                "steps refused": Value(value=climbed.refused, unit=steps),
                "steps without gradient": Value(value=climbed.still, unit=steps),
            },
            notes=_notes(climbed),
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


def _notes(climbed: Climbed) -> tuple[str, ...]:
    if climbed.is_dead:
        return ("No gradient reached the picture: what was to be raised is dead here, so nothing was.",)
    if not climbed.rose:
        return ("The objective did not rise: try more iterations, or a smaller step.",)
    return ()
