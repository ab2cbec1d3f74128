"""Feature visualisation of a layer's channels."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from pydantic import Field

from xai.ascent.climb import Climbed, Course, climb, clouds, smoothed
from xai.errors import UsageError
from xai.explainers.base import ChannelVisualizer, Visualization, channel_means
from xai.models.channels import ChannelList, numbers_of
from xai.models.graph import Layer
from xai.models.model import Model
from xai.registry import Kind, Method, Need
from xai.runtime import Runtime

STARTS = (0.1, 0.2, 0.4)  # deviations of the noise it begins from, the next where no gradient comes through
MANY = 9  # channels where none are named
STEP = 4 / 255  # of the range


class FeatureVisualization(ChannelVisualizer):
    """Feature visualisation (Olah et al. 2017): gradient ascent with scaled frequencies and jitter."""

    about = Method(
        name="featurevisualization",
        title="Feature visualisation",
        summary="For each of some channels of a layer a picture, made by gradient ascent, that raises its mean "
        "activation.",
        limits=(
            "Each is one of many such pictures and looks like nothing the model was trained on. What a channel answers "
            "to most need not be what it does on real pictures: it may answer to several unlike things, of which one "
            "is shown. No channel by itself decides an answer."
        ),
        source="Olah et al. 2017, Feature Visualization",
        kind=Kind.HEURISTIC,
        needs=frozenset({Need.GRADIENTS, Need.GRAPH}),
    )

    channels: ChannelList | None = Field(default=None, description="channels to show, from 0, separated by commas")
    choose: Literal["strongest", "spread"] = Field(
        default="strongest",
        description="where none are named: those with the highest mean activation for the input, or spread evenly",
    )
    count: int | None = Field(default=None, ge=1, le=256, description=f"how many are chosen; default {MANY}")
    iterations: int = Field(default=64, ge=1, le=10_000, description="steps for each channel")
    step: float = Field(default=STEP, gt=0, le=1, description="mean change of a detail a step, as a share of range")
    jitter: int | None = Field(
        default=None, ge=0, description="pixels by which the picture is shifted at most; default a seventh of its side"
    )

    def about_input(self) -> bool:
        """Say whether the input chooses the channels."""
        return self.channels is None and self.choose == "strongest"

    def check(self, model: Model) -> None:
        """Raise UsageError if the channels do not exist."""
        if self.channels is None or model.graph is None:
            return
        if self.count is not None:
            raise UsageError("featurevisualization.channels and .count were given; name the channels, or how many")
        numbers_of(self.channels, self.looked_at(model), "featurevisualization.channels")

    def channels_of(self, means: torch.Tensor, layer: Layer) -> list[int]:
        """Return the named channels, the strongest ones, or some that are spread evenly."""
        if self.channels is not None:
            return numbers_of(self.channels, layer, "featurevisualization.channels")
        many = min(self.count or MANY, len(means))
        if self.choose == "spread":
            spread: list[int] = np.linspace(0, len(means) - 1, many).round().astype(int).tolist()
            return spread
        order: list[int] = means.argsort(descending=True, stable=True)[:many].tolist()
        return order

    def visualize(self, model: Model, layer: Layer, channel: int, runtime: Runtime) -> Visualization:  # noqa: ARG002  # the base tells progress
        """Climb from grey with faint noise; from stronger noise where no gradient came through."""
        shape, (low, high) = model.input.shape, model.input.span
        full = (shape[-2], shape[-1])
        jitter = min(full) // 7 if self.jitter is None else self.jitter
        course = Course([full], self.iterations, self.step * (high - low), jitter, (low, high))

        def mean(x: torch.Tensor) -> torch.Tensor:
            return channel_means(model, x, layer)[:, channel].mean()

        for start in STARTS:
            begin = clouds(shape, (low, high), start).to(model.device)
            climbed = climb(mean, begin, course, lambda _: None, smoothed)
            if not climbed.is_dead:
                break
        return Visualization(climbed.picture, climbed.told, chosen={"jitter": jitter}, notes=_notes(climbed, channel))


def _notes(climbed: Climbed, channel: int) -> tuple[str, ...]:
    if climbed.is_dead:
        return (
            f"Nothing raises channel {channel}: no gradient reached the picture, from noise of {len(STARTS)} "
            "strengths.",
        )
    if not climbed.rose:
        return (f"Channel {channel} did not rise: try more iterations, or a smaller step.",)
    return ()
