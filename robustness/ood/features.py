"""What detectors look at, taken in one forward pass for all of them: logits, features, layers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import torch

from xai.errors import NotApplicableError, UsageError
from xai.models.features import Place, before_head, kept, place_of
from xai.models.graph import Graph, Tapped
from xai.models.head import Found, Head, both, find_head
from xai.models.model import Model
from xai.robustness.ood.detectors.base import Reads, Seen

EVERYTHING = frozenset(Reads)
_SMALLEST = 1e-38  # of a probability, whose logarithm is taken


@dataclass(frozen=True)
class Reader:
    """Looks at inputs for detectors.

    The features are what the last linear layer reads; without one, the last layer with rows and columns, averaged over
    them. The layers are, unless named, the last map of every resolution, and the features.

    Args:
        model: what is looked at.
        chosen: names of layers; none: chosen from the graph.
    """

    model: Model
    chosen: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raise UsageError for a layer that does not exist, NotApplicableError for any layer of a black box."""
        for name in self.chosen:
            self.model.layer(name)

    @cached_property
    def missing(self) -> dict[Reads, str]:
        """What this model does not offer, and why."""
        output = self.model.card.output
        found: dict[Reads, str] = {}
        if self.model.graph is None:
            reason = f"the model is a black box: {self.model.no_graph}"
            found |= dict.fromkeys((Reads.FEATURES, Reads.LAYERS, Reads.HEAD, Reads.GRADIENTS), reason)
        elif self._found is None:
            found[Reads.HEAD] = "the outputs do not come of a linear layer"
            if self._features is None:
                found |= dict.fromkeys((Reads.FEATURES, Reads.LAYERS), "no layer has features of the input")
        if output == "values":
            reason = "the model's outputs are values, not classes"
            found |= dict.fromkeys((Reads.CLASSES, Reads.LOGITS, Reads.HEAD), reason)
        elif output == "probabilities" and not (self._found and self._found.squashed):
            found[Reads.LOGITS] = "the model gives probabilities, of which the size of its logits cannot be told"
        return found

    def check(self, reads: Iterable[Reads]) -> None:
        """Raise NotApplicableError, with the reason, if the model does not offer what a detector reads."""
        for what in sorted(set(reads) & set(self.missing)):
            raise NotApplicableError(self.missing[what])

    @cached_property
    def head(self) -> Head | None:
        """The last linear layer, if there is one and it gives logits of classes."""
        return None if Reads.HEAD in self.missing or self._found is None else self._found.head

    @cached_property
    def places(self) -> tuple[Place, ...]:
        """The layers that are looked at; none of a black box."""
        if self.model.graph is None:
            return ()
        if self.chosen:
            return tuple(Place(name, self.model.layer(name).node, self.model.layer(name)) for name in self.chosen)
        features = (self._features,) if self._features else ()
        return tuple({place.node: place for place in (*_last_maps(self.model.graph), *features)}.values())

    def read(
        self,
        inputs: torch.Tensor,
        labels: torch.Tensor | None = None,
        keys: torch.Tensor | None = None,
        reads: frozenset[Reads] = EVERYTHING,
    ) -> Seen:
        """Run inputs through the model once; gradients flow to inputs that ask for them.

        Args:
            inputs: (n, ...) in input units.
            labels: (n,) their classes, -1 where they are not known; none: of none.
            keys: (n,) int64 that tell inputs apart, for what draws some of them; see `content_keys`.
            reads: what is wanted, as far as the model offers it; more costs time.

        Raises:
            UsageError: inputs of another shape, or a label that is no class.
        """
        if tuple(inputs.shape[1:]) != tuple(self.model.input.shape):
            shapes = f"(n, {', '.join(map(str, self.model.input.shape))}), received {tuple(inputs.shape)}"
            raise UsageError(f"expected inputs of shape {shapes}")
        inputs, offered = inputs.to(self.model.device), reads - set(self.missing)
        place = self._features if Reads.FEATURES in offered else None
        places = self.places if Reads.LAYERS in offered else ()
        with torch.set_grad_enabled(inputs.requires_grad):
            values, logits = self._run(inputs, {at.node for at in (*places, *((place,) if place else ()))})
        low, high = self.model.input.range or (0.0, 1.0)
        return Seen(
            inputs=inputs,
            span=high - low,
            logits=logits,
            labels=_known(labels, logits),
            keys=torch.zeros_like(logits[:, 0], dtype=torch.int64) if keys is None else keys.to(inputs.device),
            features=place.pooled(values[place.node]) if place else logits.new_zeros(len(logits), 0),
            layers={at.name: at.maps(values[at.node]) for at in places},
            head=self.head,
            classify=lambda points: self._run(points, set())[1],
        )

    @cached_property
    def _found(self) -> Found | None:
        """The head as it stands in the graph."""
        return find_head(self.model.graph, self.model.input.shape) if self.model.graph else None

    @cached_property
    def _features(self) -> Place | None:
        """What the head reads, or what stands for it."""
        graph = self.model.graph
        return None if graph is None else before_head(graph, self.model.input.shape, self._found)

    def _run(self, inputs: torch.Tensor, nodes: set[str]) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """Return the values of some nodes, and logits (n, classes) in float64."""
        unsquashed = self._found.logits if self._found and self._found.squashed else ""
        wanted = nodes | ({unsquashed} if unsquashed else set())
        values: dict[str, torch.Tensor] = {}
        if wanted and self.model.graph is not None:
            outputs = Tapped(self.model.graph.module, kept(values, wanted)).run(inputs)
        else:
            outputs = self.model(inputs)
        return values, self._logits(values[unsquashed] if unsquashed else outputs, raw=bool(unsquashed))

    def _logits(self, outputs: torch.Tensor, *, raw: bool) -> torch.Tensor:
        """Return outputs (n, classes) as logits, float64; of values (n, ...) one column of zeros."""
        if self.model.card.output == "values":
            return torch.zeros(len(outputs), 1, dtype=torch.float64, device=outputs.device)
        found = outputs.double()
        if raw or self.model.card.output == "logits":
            return both(found)
        shares = torch.cat((1 - found, found), dim=1) if found.shape[1] == 1 else found
        return shares.clamp(min=_SMALLEST).log()


def content_keys(inputs: torch.Tensor) -> torch.Tensor:
    """Return a number for each input (n, ...) that follows from its bytes: (n,) int64."""
    rows = inputs.detach().cpu().contiguous().flatten(1).numpy()
    digests = b"".join(hashlib.blake2b(row, digest_size=8).digest() for row in rows)
    return torch.frombuffer(bytearray(digests), dtype=torch.int64)


def _known(labels: torch.Tensor | None, logits: torch.Tensor) -> torch.Tensor:
    """Return the labels, and the predicted class where there is none."""
    answers = logits.argmax(1)
    if labels is None:
        return answers
    given = labels.to(answers)
    if given.shape != answers.shape or int(given.max()) >= logits.shape[1]:
        raise UsageError(
            f"expected a label from 0 to {logits.shape[1] - 1} (-1: not known) for each of {len(answers)} inputs, "
            f"received {tuple(given.shape)} with a highest of {int(given.max())}"
        )
    return torch.where(given < 0, answers, given)


def _last_maps(graph: Graph) -> list[Place]:
    """Return the last layer with rows and columns at every resolution, the finest first."""
    last: dict[tuple[int, int], str] = {}
    for layer in graph.layers.values():
        if layer.is_feature_map and layer.layout is not None and min(layer.layout.grid) > 1:
            last[layer.layout.grid] = layer.node
    return [place_of(graph, node) for node in last.values()]
