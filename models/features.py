"""Features: what a layer of a network holds for an input, as one row of numbers; and what decides on such rows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from xai.errors import NotApplicableError, UsageError
from xai.models.graph import Graph, Layer, Tap, Tapped
from xai.models.head import Found, find_head
from xai.models.meaning import PROBABILITY
from xai.models.model import Model
from xai.models.spatial import last_spatial_layer
from xai.runtime import Runtime

BATCH = 64  # inputs that go through the network at once, at most


@dataclass(frozen=True)
class Place:
    """A layer that is looked at.

    Args:
        name: as the user knows it.
        node: of the graph.
        layer: what is known of it; None of an operator within a module, which has no name of its own.
    """

    name: str
    node: str
    layer: Layer | None

    def maps(self, value: torch.Tensor) -> torch.Tensor:
        """Return its value as (n, channels, places)."""
        if self.layer is not None and self.layer.is_feature_map:
            return self.layer.by_channel(value).flatten(2)
        if value.ndim == 2:
            return value[:, :, None]
        return value.flatten(1, -2).movedim(-1, 1)  # tokens: the last axis holds channels

    def pooled(self, value: torch.Tensor) -> torch.Tensor:
        """Return its value averaged over places, (n, channels) float64."""
        return self.maps(value).double().mean(2)


def place_of(graph: Graph, node: str) -> Place:
    """Return the node as a place, by the name of the outermost layer that gives it."""
    layer = next((layer for layer in graph.layers.values() if layer.node == node), None)
    return Place(layer.name if layer else node, node, layer)


def before_head(graph: Graph, shape: tuple[int, ...], head: Found | None) -> Place | None:
    """Return what the head reads; without a head the last layer with rows and columns, None if there is none.

    Args:
        graph: the network.
        shape: of one input.
        head: what `find_head` found.
    """
    if head is not None:
        return place_of(graph, head.features)
    try:
        layer = last_spatial_layer(graph, shape)
    except NotApplicableError:
        return None
    return Place(layer.name, layer.node, layer)


def kept(values: dict[str, torch.Tensor], nodes: Iterable[str]) -> dict[str, Tap]:
    """Return taps that note the values of some nodes and leave them as they are."""

    def keep(node: str) -> Tap:
        def tap(value: torch.Tensor) -> torch.Tensor:
            values[node] = value
            return value

        return tap

    return {node: keep(node) for node in nodes}


def feature_place(model: Model, layer: str | None = None) -> Place:
    """Return where features are read: a layer by name, or what the network's head reads.

    Raises:
        UsageError: there is no such layer.
        NotApplicableError: the model is a black box, or nothing in it stands before its outputs.
    """
    graph = model.needed_graph()
    if layer is not None:
        found = model.layer(layer)
        return Place(found.name, found.node, found)
    place = before_head(graph, model.input.shape, find_head(graph, model.input.shape))
    if place is None:
        raise NotApplicableError("the network has no head whose features could be taken; name a layer instead")
    return place


def features(model: Model, x: torch.Tensor, layer: str | Place | None = None) -> torch.Tensor:
    """Return what a layer holds for inputs, a row of numbers each: (n, d) float32, on the CPU.

    A layer with rows and columns, or with tokens, has as many numbers as channels: each is averaged over places.

    Args:
        model: with a graph.
        x: (n, ...) in input units; it is run in batches, without gradients.
        layer: its name; default what the network's head reads, without a head the last layer with rows and columns.

    Raises:
        UsageError: there is no such layer, it has no row an input, or the inputs have another shape.
        NotApplicableError: the model is a black box, or nothing in it stands before its outputs.
    """
    if tuple(x.shape[1:]) != tuple(model.input.shape) or not len(x):
        shapes = f"(n, {', '.join(map(str, model.input.shape))}), received {tuple(x.shape)}"
        raise UsageError(f"expected inputs of shape {shapes}")
    place = layer if isinstance(layer, Place) else feature_place(model, layer)
    module = model.needed_graph().module
    rows = []
    for part in x.split(Runtime(device=model.device).batch(model.bytes_per_input, BATCH)):
        values: dict[str, torch.Tensor] = {}
        with torch.no_grad():
            Tapped(module, kept(values, [place.node])).run(part.to(model.device))
        rows.append(_row_each(place, values[place.node], len(part)))
    return torch.cat(rows)


@dataclass(frozen=True)
class OnFeatures:
    """An estimator on a network's features: called with a batch (n, ...) in input units, it gives scores (n, outputs).

    `xai.load` opens it as a black box that takes what the network takes and answers with the estimator's classes.
    Scores are what predict_proba gives; of an estimator without it what decision_function gives, of two classes one
    score, for the second and against the first.

    Args:
        model: the network, with a graph.
        estimator: in the manner of scikit-learn, fitted to rows of `features` of that layer.
        layer: see `features`.

    Raises:
        UsageError: there is no such layer, the estimator gives no score a class, or it was fitted to other rows.
        NotApplicableError: the model is a black box, or nothing in it stands before its outputs.
    """

    model: Model
    estimator: Any
    layer: str | None = None

    def __post_init__(self) -> None:
        """Try it on one input."""
        names = getattr(self.estimator, "classes_", None)
        if self.method is None or names is None or isinstance(names, list):
            raise UsageError(
                f"expected a fitted classifier in the manner of scikit-learn, with classes_ and predict_proba or "
                f"decision_function, received {self._kind}; fit it to what xai.features gives"
            )
        low, high = self.model.input.span
        row = features(self.model, torch.full((1, *self.model.input.shape), (low + high) / 2), self._place)
        wanted = getattr(self.estimator, "n_features_in_", row.shape[1])
        if wanted != row.shape[1]:
            raise UsageError(
                f"{self._kind} was fitted to rows of {wanted} numbers, and layer {self._place.name!r} gives "
                f"{row.shape[1]}; name the layer whose features it was fitted to"
            )
        outputs = self._scored(row).shape[1]
        if outputs != len(names) and (outputs, len(names)) != (1, 2):
            raise UsageError(
                f"expected a score for each of {len(names)} classes, received {outputs} from {self.method} of "
                f"{self._kind}; give a support vector machine decision_function_shape='ovr'"
            )

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        """Return scores (n, outputs) float32 of inputs (n, ...) in input units."""
        return self._scored(features(self.model, batch, self._place))

    @property
    def method(self) -> str | None:
        """The estimator's method that gives scores."""
        named = (PROBABILITY, "decision_function")
        return next((name for name in named if callable(getattr(self.estimator, name, None))), None)

    @property
    def name(self) -> str:
        """What it is, in words."""
        return f"{self._kind} on {self._place.name} of {self.model.name}"

    @property
    def card(self) -> dict[str, Any]:
        """The fields of its card: the network's own input, whose normalisation lies within, and its classes."""
        own = self.model.input.model_dump(include={"shape", "range", "resize", "crop_fraction", "interpolation"})
        names = tuple(str(name) for name in self.estimator.classes_)
        output = {} if self.method == PROBABILITY else {"output": "logits"}
        return {"classes": names, "input": {**own, "layout": "channels first", "mean": (0.0,), "std": (1.0,)}, **output}

    @property
    def assumed(self) -> list[str]:
        """What had to be assumed of its scores, in words."""
        if self.method == PROBABILITY:
            return []
        return [f"scores of {self._kind} are taken for logits: probabilities that are made of them are not calibrated"]

    @cached_property
    def _place(self) -> Place:
        return feature_place(self.model, self.layer)

    @property
    def _kind(self) -> str:
        return type(self.estimator).__name__

    def _scored(self, rows: torch.Tensor) -> torch.Tensor:
        """Return scores (n, outputs) of features (n, d)."""
        scores = np.asarray(getattr(self.estimator, str(self.method))(rows.numpy()), dtype=np.float32)
        return torch.as_tensor(scores.reshape(len(rows), -1))


def _row_each(place: Place, value: torch.Tensor, count: int) -> torch.Tensor:
    """Return a layer's value for so many inputs as rows (count, d) float32."""
    if value.ndim < 2 or len(value) != count or not value.is_floating_point():
        raise UsageError(
            f"layer {place.name!r} gives a tensor of shape {tuple(value.shape)} for {count} inputs; expected features "
            "(inputs, ...), numbers of each input alone: name another layer"
        )
    return place.pooled(value).float().cpu()
