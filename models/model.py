"""The Model: what every analysis is given, whatever file it came from."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import fx, nn

from xai.errors import NotApplicableError
from xai.models.card import Card, Input
from xai.models.folded import folded
from xai.models.graph import Graph, Layer
from xai.models.images import ImageLike, Prepared, prepare
from xai.models.incremental import Incremental
from xai.models.spatial import last_spatial_layer
from xai.models.targets import Target, find_target

ROUNDING = 2.0**-13  # of the largest output: more than float32's sums differ by in deep networks, far below any answer


@dataclass(frozen=True)
class Activation:
    """A layer's value and what follows from it.

    Args:
        value: the layer's output, a copy that gradients can be taken to.
        outputs: the model's outputs (batch, classes), computed from that copy.
        layer: the layer.
    """

    value: torch.Tensor
    outputs: torch.Tensor
    layer: Layer


@dataclass(frozen=True)
class Engine:
    """What runs the network where no gradient is needed.

    Args:
        name: of it and its version.
        forward: (batch, ...) in input units -> (batch, classes).
    """

    name: str
    forward: Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Original:
    """The program that a graph was converted from, which runs the file itself.

    Args:
        name: of it.
        forward: (batch, ...) in input units -> (batch, classes).
        rest: ends what it keeps running; the next call starts it again.
    """

    name: str
    forward: Callable[[torch.Tensor], torch.Tensor]
    rest: Callable[[], None]


@dataclass(frozen=True)
class Model:
    """A trained network in input units.

    Args:
        card: what is declared of it; the input and a name for each output are always there.
        graph: its graph, or None where only its outputs can be had (a black box).
        forward: (batch, channels, height, width) in input units -> (batch, classes).
        format: what it was read from ("safetensors", "live module", ...).
        source: the file or name it came from, as the user wrote it.
        digest: sha256 of the file, "" if there is none.
        architecture: what named it, "" if the source brings it.
        assumed: what had to be assumed, in words.
        no_graph: why there is no graph.
        device: where it runs.
        call: the Python call that opened it, as far as it can be written down.
        guessed: fields of the card that stand on an assumption ("input.mean"), and which.
        original: what the graph was converted from, where that is a program of another kind and can be run.
        against: what the one output speaks against, where that has a name of its own.
        draws: whether it draws random numbers, so that one input gives other outputs each time.
        network: the module that it was made of, as it was opened; None of what is no module of torch's.
        derived: fingerprint of the model that it was made from, where that was another.
        engine: what runs it where no gradient is needed; None for torch.
    """

    card: Card
    graph: Graph | None
    forward: Callable[[torch.Tensor], torch.Tensor]
    format: str
    source: str
    digest: str = ""
    architecture: str = ""
    assumed: tuple[str, ...] = ()
    no_graph: str = ""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    call: str = ""
    guessed: Mapping[str, str] = field(default_factory=dict)
    original: Original | None = None
    against: str = ""
    draws: bool = False
    network: nn.Module | None = field(default=None, repr=False)
    derived: str = ""
    engine: Engine | None = field(default=None, repr=False)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return outputs (batch, classes) of inputs (batch, channels, height, width); gradients flow if enabled."""
        return self.forward(x)

    @property
    def name(self) -> str:
        """The model's name."""
        return self.card.name or self.source

    @property
    def classes(self) -> tuple[str, ...]:
        """A name for each output."""
        return self.card.classes

    @property
    def answers(self) -> tuple[str, ...]:
        """A name for each answer, in the order that labels count: the classes; of one output, against it and for it."""
        if len(self.classes) > 1 or self.card.output == "values":
            return self.classes
        return self.against or f"not {self.classes[0]}", self.classes[0]

    @property
    def input(self) -> Input:
        """What the model takes."""
        assert self.card.input is not None
        return self.card.input

    @property
    def fingerprint(self) -> str:
        """sha256 of the graph and its tensors; of a black box its file's, or ""."""
        return self.graph.fingerprint if self.graph else self.digest

    @property
    def bytes_per_input(self) -> int:
        """Bytes of activations that live at once for one input; of a black box an estimate."""
        return self.graph.bytes_per_input if self.graph else 100 * 4 * math.prod(self.input.shape)

    @cached_property
    def quick(self) -> fx.GraphModule | None:
        """The graph with batch normalisation folded into its convolutions; None where its outputs are not a call's."""
        if self.graph is None or not self.graph.is_whole:
            return None
        quick = folded(self.graph.module)
        return quick if self._agrees(quick) else None

    @cached_property
    def is_accelerated(self) -> bool:
        """Whether another engine gives the outputs where no gradient is needed."""
        return self.engine is not None and self._agrees(self.engine.forward)

    def outputs(self, x: torch.Tensor) -> torch.Tensor:
        """Return outputs (batch, classes) of inputs (batch, channels, height, width), as fast as they can be had.

        They have no gradients, and are those of a call but for rounding.
        """
        with torch.no_grad():
            if self.engine is not None and self.is_accelerated:
                return self.engine.forward(x)
            found: torch.Tensor = (self.quick or self.forward)(x)
            return found

    def incremental(self, x: torch.Tensor) -> Incremental | None:
        """Return what gives outputs of copies of x (channels, height, width) that differ in a part; None without it."""
        if self.quick is None:
            return None
        with torch.no_grad():
            return Incremental(self.quick, x[None])

    def _agrees(self, forward: Callable[[torch.Tensor], torch.Tensor]) -> bool:
        """Say whether a function gives a call's outputs, but for rounding, of random inputs; two make a batch."""
        if self.draws:
            return False
        low, high = self.input.span
        drawn = torch.rand((2, *self.input.shape), generator=torch.Generator().manual_seed(0)) * (high - low) + low
        with torch.no_grad():
            expected, found = self(drawn.to(self.device)), forward(drawn.to(self.device))
        return expected.shape == found.shape and bool((found - expected).abs().max() <= ROUNDING * expected.abs().max())

    def prepare(self, image: ImageLike) -> Prepared:
        """Turn a picture into the model's input; see xai.models.images.prepare."""
        return prepare(image, self.input)

    def answer(self, outputs: torch.Tensor) -> str:
        """Return what outputs (classes,) say: the class of the highest; one output above the middle is for its class.

        In the very middle one output is against its class: of two answers that are equal, the first is given.
        """
        if len(self.answers) == len(outputs):
            return self.classes[int(outputs.argmax())]
        line = 0.5 if self.card.output == "probabilities" else 0.0
        return self.answers[int(float(outputs[0]) > line)]

    def target(self, wanted: str | int) -> Target:
        """Return the target for a class name or index."""
        return find_target(wanted, self.classes)

    @cached_property
    def spatial_layer(self) -> Layer:
        """The last layer with rows and columns; raises NotApplicableError if there is none."""
        return last_spatial_layer(self.needed_graph(), self.input.shape)

    def layer(self, name: str) -> Layer:
        """Return a layer by name; raise UsageError with near matches."""
        return self.needed_graph().layer(name)

    def tap(self, x: torch.Tensor, layer: Layer) -> Activation:
        """Run x (batch, channels, height, width) and return the layer's value with the outputs that follow from it.

        The value is a copy, so nothing that runs later overwrites it.
        """
        graph = self.needed_graph()
        kept: list[torch.Tensor] = []

        def keep(value: torch.Tensor) -> torch.Tensor:
            kept.append(value.detach().clone().requires_grad_())
            return kept[0]

        if not graph.is_whole:
            with torch.enable_grad():
                outputs = graph.run(x, {layer.name: keep})
            return Activation(kept[0], outputs, layer)
        first, second = graph.split(layer)
        with torch.no_grad():
            value, others = first(x)
        with torch.enable_grad():
            outputs = second(keep(value), *others)
        return Activation(kept[0], outputs, layer)

    def activation(self, x: torch.Tensor, layer: Layer) -> torch.Tensor:
        """Return a layer's output for x (batch, channels, height, width); gradients flow to x if enabled."""
        kept: list[torch.Tensor] = []

        def keep(value: torch.Tensor) -> torch.Tensor:
            kept.append(value.clone())
            return value

        self.needed_graph().run(x, {layer.name: keep})
        return kept[0]

    def needed_graph(self) -> Graph:
        """Return the graph; raise NotApplicableError, with the reason, if the model is a black box."""
        if self.graph is None:
            raise NotApplicableError(f"the model is a black box: {self.no_graph}")
        return self.graph
