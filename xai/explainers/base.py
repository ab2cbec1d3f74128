"""What an explainer is: a formula that the base runs seeded, and whose answer it checks and measures.

An `Attributor` gives each pixel a number: a map. A `Visualizer` makes a picture of what a part of the model answers to,
a `ChannelVisualizer` one for each of some channels.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch.nn import functional as F

from xai.errors import AnalysisError, NotApplicableError
from xai.models.graph import Layer
from xai.models.model import Model
from xai.models.targets import Target
from xai.models.torchvision_import import curing_torchvision
from xai.registry import Family, Method, Need
from xai.reports.records import Scalar, Value
from xai.runtime import Runtime

FAR = 0.5  # of an output: what misses it by more does not explain it
ROUNDING = 2.0**-20  # of the largest output: what float32 sums may differ by from batch to batch


def gradients(outputs: torch.Tensor, x: torch.Tensor, targets: Sequence[Target]) -> list[torch.Tensor]:
    """Return each target's gradient with respect to inputs x (batch, ...), of which each makes its own outputs.

    It is zero where nothing of the outputs (batch, classes) follows from x.
    """
    if not outputs.requires_grad:
        return [torch.zeros_like(x) for _ in targets]
    return [
        torch.autograd.grad(target(outputs).sum(), x, retain_graph=True, materialize_grads=True)[0]
        for target in targets
    ]


def completeness_error(attributed: float, output: float, start: float) -> float | None:
    """Return by how much attributions miss the difference of two outputs that they should add up to, as a share of it.

    None if the outputs differ by no more than rounding.
    """
    gained = output - start
    if abs(gained) <= ROUNDING * max(abs(output), abs(start)):
        return None
    return abs(attributed - gained) / abs(gained)


def account(attributed: float, output: float, start: float) -> dict[str, Value]:
    """Return the values that say whether attributions add up to the output less that of the baseline, their start."""
    error = completeness_error(attributed, output, start)
    alike = "" if error is not None else "the two outputs are the same but for rounding"
    return {
        "output": Value(value=output, unit="of the picture"),
        "output of the baseline": Value(value=start),
        "sum": Value(value=attributed, unit="of all attributions; ideally the difference of the two outputs"),
        "completeness error": Value(value=error, unit="share of that difference that the sum misses", reason=alike),
    }


def shortfall(explained: float, output: float, what: str) -> tuple[str, ...]:
    """Return the note that is due where what a method hands out misses the output by more than half of it.

    Args:
        explained: what it handed out.
        output: of the target.
        what: the method calls so, for the sentence's beginning.
    """
    if abs(explained - output) <= FAR * abs(output):
        return ()
    return (
        f"{what} come to {explained:.3g}, and the target's output is {output:.3g}: the map does not account for it.",
    )


@dataclass(frozen=True)
class Attribution:
    """What an attributor's formula gives for one target.

    Args:
        map: (height, width) of the prepared input, raw; high speaks for the target.
        noise: differences within the map up to this size are rounding.
        chosen: parameters as they were used, where the method chose them.
        values: what it measured besides.
        notes: what a reader must know of this answer.
        arrays: what else a third party needs to make the map again, by name.
    """

    map: torch.Tensor
    chosen: dict[str, Scalar] = field(default_factory=dict)
    values: dict[str, Value] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    noise: float = 0.0
    arrays: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Visualization:
    """What a visualizer's formula gives for one target.

    Args:
        picture: (channels, height, width) in input units.
        objective: (iterations + 1,) what was raised, from the start on.
        chosen: parameters as they were used, where the method chose them.
        values: what it measured besides.
        notes: what a reader must know of this answer.
    """

    picture: torch.Tensor
    objective: torch.Tensor
    chosen: dict[str, Scalar] = field(default_factory=dict)
    values: dict[str, Value] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Explanation:
    """An answer that was checked: arrays by name, the parameters that shaped it, and what was measured of it."""

    arrays: dict[str, np.ndarray]
    parameters: dict[str, Scalar]
    values: dict[str, Value]
    notes: tuple[str, ...]

    @property
    def is_blank(self) -> bool:
        """Whether the answer says nothing: a map with one value everywhere."""
        return "blank" in self.values and self.values["blank"].value is True


class Explainer(BaseModel, ABC):
    """What all explainers share. The fields of a subclass are its parameters."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True, allow_inf_nan=False)

    about: ClassVar[Method]
    family: ClassVar[str]

    def check(self, model: Model) -> None:
        """Raise UsageError if a parameter does not fit this model: before anything is computed."""

    def applies(self, model: Model) -> None:
        """Raise NotApplicableError if there is no answer for this model, whatever the input."""
        if not model.input.is_picture:
            raise NotApplicableError(f"it is about pictures, and the model takes inputs of shape {model.input.shape}")

    def about_input(self) -> bool:
        """Say whether the answer is about the input; else it is about the model alone."""
        return True

    def about_target(self) -> bool:
        """Say whether the answer is about an output; else one answer stands for all targets."""
        return True

    @abstractmethod
    def explain(
        self, model: Model, x: torch.Tensor, targets: Sequence[Target], runtime: Runtime, key: str
    ) -> list[Explanation]:
        """Return the checked answer for each target, for one input x (channels, height, width) in input units.

        The method's random numbers follow from the runtime's seed, its name and the key, the sample's digest.

        Raises:
            NotApplicableError: the method does not apply to this model.
            AnalysisError: the method returned nothing usable.
        """


class Attributor(Explainer):
    """An explainer that gives each pixel a number.

    A subclass declares `about`, whether its map is `signed`, the map's `unit`, and writes `attribute`.
    """

    family: ClassVar[str] = "explanation"
    signed: ClassVar[bool]
    unit: ClassVar[str]

    @abstractmethod
    def attribute(
        self, model: Model, x: torch.Tensor, targets: Sequence[Target], runtime: Runtime
    ) -> list[Attribution]:
        """Return a map for each target, for one input x (channels, height, width) on the model's device.

        The targets share what does not depend on them: forward passes above all.
        """

    def explain(
        self, model: Model, x: torch.Tensor, targets: Sequence[Target], runtime: Runtime, key: str
    ) -> list[Explanation]:
        """Return the checked map of each target."""
        with runtime.seeded(self.about.name, key), torch.set_grad_enabled(Need.GRADIENTS in self.about.needs):
            found = self.attribute(model, x.to(model.device), targets, runtime)
        return [self._checked(attribution, tuple(x.shape[-2:])) for attribution in found]

    def _checked(self, found: Attribution, shape: tuple[int, ...]) -> Explanation:
        raw = found.map.detach().to("cpu", torch.float32).numpy()
        if raw.shape != shape:
            raise AnalysisError(f"expected a map of {shape}, the method returned {raw.shape}")
        if not np.isfinite(raw).all():
            raise AnalysisError("the map holds NaN or infinite values")
        blank = float(raw.max()) - float(raw.min()) <= found.noise
        measured = {**_measured(raw, self.unit), "blank": Value(value=blank), "signed": Value(value=self.signed)}
        notes = (*found.notes, _blank_note(raw)) if blank else found.notes
        parameters = {**self.model_dump(), **found.chosen}
        return Explanation({"map": raw, **found.arrays}, parameters, {**found.values, **measured}, notes)


class LayerAttributor(Attributor):
    """An attributor that looks at one layer with rows and columns of the picture, and has a map on that grid.

    A subclass declares `about` and `unit`, and writes `attribute`, whose maps `fine` brings to the picture's size.
    """

    signed: ClassVar[bool] = False

    layer: str | None = Field(default=None, description="layer to look at; default the last one with rows and columns")

    def check(self, model: Model) -> None:
        """Raise UsageError if there is no such layer."""
        if self.layer is not None and model.graph is not None:
            model.layer(self.layer)

    def applies(self, model: Model) -> None:
        """Raise NotApplicableError if no layer has rows and columns, or the named one has none."""
        super().applies(model)
        self.looked_at(model)

    def looked_at(self, model: Model) -> Layer:
        """Return the layer that is looked at: one with rows and columns."""
        layer = model.layer(self.layer) if self.layer else model.spatial_layer
        if not layer.is_feature_map:
            raise NotApplicableError(f"the output of layer {layer.name!r} has no rows and columns: {layer.shape}")
        return layer

    def fine(self, coarse: torch.Tensor, layer: Layer, x: torch.Tensor, **found: Any) -> Attribution:
        """Return a map (rows, columns) of a layer at the size of x; `found` is what an Attribution says besides."""
        grid = f"{coarse.shape[-2]} x {coarse.shape[-1]}"
        chosen = {"layer": layer.name, "grid": grid, **found.pop("chosen", {})}
        return Attribution(upsampled(coarse, x), chosen=chosen, **found)


class GradientCAM(LayerAttributor):
    """A class activation map of a layer's activation and the gradient of the target there.

    A subclass declares `about` and `unit`, and writes `weighted`; what it finds negative is cut.
    """

    @abstractmethod
    def weighted(self, activation: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        """Return a map (batch, rows, columns) of an activation and its gradient (batch, channels, rows, columns)."""

    def raised(self, target: Target, outputs: torch.Tensor, model: Model) -> tuple[torch.Tensor, dict[str, Scalar]]:  # noqa: ARG002  # for subclasses that need it
        """Return the scalar whose gradient is taken, (batch,) of outputs (batch, classes), and what was chosen."""
        return target(outputs), {}

    def attribute(
        self,
        model: Model,
        x: torch.Tensor,
        targets: Sequence[Target],
        runtime: Runtime,  # noqa: ARG002  # one forward pass needs no batches
    ) -> list[Attribution]:
        """Run forward once, and backward to the layer once a target."""
        layer = self.looked_at(model)
        tap = model.tap(x[None], layer)
        activation = layer.by_channel(tap.value.detach())
        found = []
        for target in targets:
            scalar, chosen = self.raised(target, tap.outputs, model)
            (gradient,) = torch.autograd.grad(scalar.sum(), tap.value, retain_graph=True)
            coarse = F.relu(self.weighted(activation, layer.by_channel(gradient)))
            found.append(self.fine(coarse[0], layer, x, chosen=chosen))
        return found


class Visualizer(Explainer):
    """An explainer that makes a picture which a part of the model answers to strongly.

    A subclass declares `about` and writes `visualize`.
    """

    family: ClassVar[str] = "visualization"

    @abstractmethod
    def visualize(self, model: Model, x: torch.Tensor, target: Target, runtime: Runtime) -> Visualization:
        """Return a picture for a target; x (channels, height, width), on the model's device, is where it may begin."""

    def explain(
        self, model: Model, x: torch.Tensor, targets: Sequence[Target], runtime: Runtime, key: str
    ) -> list[Explanation]:
        """Return the checked picture of each target."""
        found = []
        for target in targets:
            name = target.name if self.about_target() else ""
            with runtime.seeded(self.about.name, key, name), torch.enable_grad():
                found.append(self._checked(self.visualize(model, x.to(model.device), target, runtime), model, target))
        return found

    def _checked(self, found: Visualization, model: Model, target: Target) -> Explanation:
        picture, objective = _usable(found, model)
        with torch.no_grad():
            outputs = model(picture[None].to(model.device))
        said = model.answer(outputs[0])
        measured = {
            "start": Value(value=float(objective[0]), unit="of the objective"),
            "end": Value(value=float(objective[-1]), unit="of the objective"),
            "rose": Value(value=bool(objective[-1] > objective[0])),
            "model's answer": Value(value=said, unit="for the picture"),
        }
        notes = found.notes
        if self.about_target():
            measured["target's output"] = Value(value=float(target(outputs)), unit="for the picture")
            if said != target.label:
                notes += (f"The model calls the picture {said}, though {target.name} was raised.",)
        arrays = {"picture": picture.numpy(), "objective": objective}
        return Explanation(arrays, {**self.model_dump(), **found.chosen}, {**found.values, **measured}, notes)


class ChannelVisualizer(Explainer):
    """An explainer that makes a picture for each of some channels of a layer, which that channel answers to strongly.

    A subclass declares `about` and writes `channels_of` and `visualize`. A channel's picture is the same, whichever
    input its channel was chosen for.
    """

    family: ClassVar[str] = "channel-pictures"

    layer: str | None = Field(default=None, description="layer to look at; default the last one with rows and columns")

    @abstractmethod
    def channels_of(self, means: torch.Tensor, layer: Layer) -> list[int]:
        """Return the channels of a layer that are shown; their mean activations for the input are (channels,)."""

    @abstractmethod
    def visualize(self, model: Model, layer: Layer, channel: int, runtime: Runtime) -> Visualization:
        """Return a picture that raises `channel_means` of a channel; it begins from noise."""

    def about_target(self) -> bool:
        """Say that it is about channels, and no output."""
        return False

    def applies(self, model: Model) -> None:
        """Raise NotApplicableError if no layer has rows and columns, and none was named."""
        super().applies(model)
        self.looked_at(model)

    def looked_at(self, model: Model) -> Layer:
        """Return the layer whose channels are shown."""
        return model.layer(self.layer) if self.layer else model.spatial_layer

    def explain(
        self,
        model: Model,
        x: torch.Tensor,
        targets: Sequence[Target],  # noqa: ARG002  # it is about no output
        runtime: Runtime,
        key: str,  # noqa: ARG002  # what is drawn follows from the channel alone
    ) -> list[Explanation]:
        """Return the checked pictures of all channels."""
        layer = self.looked_at(model)
        with torch.no_grad():
            means = channel_means(model, x[None].to(model.device), layer)[0].cpu()
        found: dict[int, Visualization] = {}
        channels = self.channels_of(means, layer)
        for channel in channels:
            runtime.progress(f"{self.about.title}, channel {channel} of {layer.name}", len(found), len(channels))
            with runtime.seeded(self.about.name, layer.name, str(channel)), torch.enable_grad():
                found[channel] = self.visualize(model, layer, channel, runtime)
        return [self._checked(found, model, layer, means)]

    def _checked(self, found: dict[int, Visualization], model: Model, layer: Layer, means: torch.Tensor) -> Explanation:
        channels, usable = list(found), [_usable(one, model) for one in found.values()]
        pictures = torch.stack([picture for picture, _ in usable])
        before = [float(objective[0]) for _, objective in usable]
        with torch.no_grad():
            reached = [
                float(channel_means(model, picture[None].to(model.device), layer)[0, channel])
                for channel, picture in zip(channels, pictures, strict=True)
            ]
        rose = sum(there > here for here, there in zip(before, reached, strict=True))
        unit = f"mean activation of layer {layer.name}"
        measured = {
            "channels": Value(value=len(channels), unit=f"of {len(means)} of layer {layer.name}"),
            "rose": Value(value=rose, unit=f"of {len(channels)} channels"),
        }
        for channel, here, there in zip(channels, before, reached, strict=True):
            measured[f"channel {channel}, before"] = Value(value=here, unit=unit)
            measured[f"channel {channel}, after"] = Value(value=there, unit=unit)
        arrays = {
            "channels": np.array(channels),
            "pictures": pictures.numpy(),
            "objectives": np.stack([objective for _, objective in usable]),
            "reached": np.array(reached),
        }
        if self.about_input():
            arrays["of the input"] = means[channels].double().numpy()
        chosen = {name: value for one in found.values() for name, value in one.chosen.items()}
        return Explanation(
            arrays,
            {**self.model_dump(), "layer": layer.name, **chosen},
            measured,
            tuple(note for one in found.values() for note in one.notes),
        )


def channel_means(model: Model, x: torch.Tensor, layer: Layer) -> torch.Tensor:
    """Return the mean activation of a layer's channels, (batch, channels), for inputs (batch, ...)."""
    value = layer.by_channel(model.activation(x, layer))
    return value.flatten(2).mean(2) if value.ndim > 2 else value


def _usable(found: Visualization, model: Model) -> tuple[torch.Tensor, np.ndarray]:
    """Return a picture, float32, and its objective, float64, on the CPU; raise AnalysisError if they cannot be used."""
    picture = found.picture.detach().to("cpu", torch.float32)
    objective = found.objective.detach().to("cpu", torch.float64).numpy()
    low, high = model.input.span
    if tuple(picture.shape) != model.input.shape:
        raise AnalysisError(f"expected a picture of {model.input.shape}, the method returned {picture.shape}")
    if not (torch.isfinite(picture).all() and np.isfinite(objective).all()):
        raise AnalysisError("the picture or the objective holds NaN or infinite values")
    if picture.min() < low or picture.max() > high:
        raise AnalysisError(f"the picture leaves the range [{low:g}, {high:g}]")
    return picture, objective


def upsampled(coarse: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Return a map (rows, columns) at the size of an input (channels, height, width)."""
    return F.interpolate(coarse[None, None], size=x.shape[-2:], mode="bilinear", align_corners=False)[0, 0]


def grad_cam_package() -> ModuleType:
    """Return the package grad-cam: it brings OpenCV, and takes a second to import."""
    return curing_torchvision(lambda: importlib.import_module("pytorch_grad_cam"))


def _measured(raw: np.ndarray, unit: str) -> dict[str, Value]:
    """Return what can be said of any map."""
    row, column = _peak(np.abs(raw))
    return {
        "lowest": Value(value=float(raw.min()), unit=unit),
        "highest": Value(value=float(raw.max()), unit=unit),
        "peak row": Value(value=int(row), unit="pixels from the top"),
        "peak column": Value(value=int(column), unit="pixels from the left"),
        "half in": Value(value=_half_area(raw), unit="share of the picture that holds half of the map's total"),
    }


def _peak(sizes: np.ndarray) -> tuple[int, int]:
    """Return the middle one of the highest places: a segment or a window has many that are equal."""
    places = np.argwhere(sizes >= sizes.max() * (1 - ROUNDING))
    distances = np.square(places - places.mean(axis=0)).sum(axis=1)
    row, column = places[distances.argmin()]
    return int(row), int(column)


def _half_area(raw: np.ndarray) -> float | None:
    """Return the smallest share of the pixels that holds half of the map's absolute total."""
    sums = np.cumsum(np.sort(np.abs(raw), axis=None)[::-1], dtype=np.float64)
    if sums[-1] == 0:
        return None
    return float((np.searchsorted(sums, sums[-1] / 2) + 1) / sums.size)


def _blank_note(raw: np.ndarray) -> str:
    around = "the value" if raw.max() == raw.min() else "but for rounding the value"
    return f"The map is blank: every pixel has {around} {raw.flat[0]:.3g}. It says nothing about this picture."


explainers: Family[Explainer] = Family("method", "xai.explainers", Explainer, key=lambda leaf: leaf.about.name)  # type: ignore[type-abstract]  # a family is of subclasses of its abstract base
