"""From a network and its card to a Model: checked, made one program, and told how many outputs it has."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from xai.errors import RefusedFileError, XaiError
from xai.models.card import Card
from xai.models.export import InputUnits, UnfitError, evaluating, trace
from xai.models.formats.base import Reading
from xai.models.graph import Graph
from xai.models.meaning import last_function, meaning, probe
from xai.models.model import Model, Original
from xai.models.opaque import Opaque
from xai.models.program import Program
from xai.models.trial import INPUTS, Forward, seeded, tried
from xai.text import storable

log = logging.getLogger(__name__)

MAX_BYTES = 2 * 2**30  # of the values that live at once for one input
AGREEMENT = 1e-4  # of a graph with its reference, as a share of the largest output
ITSELF = "the module itself"


@dataclass
class Found:
    """What a source turned out to be, before it is one program.

    Args:
        network: with its weights.
        format: what it was read from.
        source: as the user wrote it.
        digest: sha256 of the file, "" without one.
        architecture: what named it, "" if the source brings it.
        card: fields of the card beside it.
        hints: fields that its library declares.
        assumed: what had to be assumed, in words.
        reference: another way to run the same file, its reason the runner's name; the graph is compared with it, and it
            runs what has no graph.
        identity: what determines the network, weights included; "" if nothing short of it does.
        card_file: the card beside it, "" without one.
        places: who declared each field, in words that an error begins with: "card model.yaml: input.shape".
        readings: of the input's three axes, the likeliest first; see `Contents`.
        guessed: fields that stand on an assumption, and which.
    """

    network: nn.Module
    format: str
    source: str
    digest: str = ""
    architecture: str = ""
    card: dict[str, Any] = field(default_factory=dict)
    hints: dict[str, Any] = field(default_factory=dict)
    assumed: list[str] = field(default_factory=list)
    reference: Opaque | None = None
    identity: str = ""
    card_file: str = ""
    places: dict[str, str] = field(default_factory=dict)
    readings: tuple[Reading, ...] = ()
    guessed: dict[str, str] = field(default_factory=dict)

    def place(self, name: str) -> str:
        """Return who declared a field."""
        return self.places.get(name, name)


def assemble(found: Found, card: Card, device: torch.device) -> Model:
    """Make one program of what was found, and check it against its card."""
    assert card.input is not None
    _check_finite(found.network, found.source)
    network = InputUnits(found.network, card.input)
    graph, forward, no_graph = _program(network, device, found.identity)
    _check_memory(graph, found.source)
    reference, name = _reference(found, network)
    if reference is not None and (graph is not None or name != ITSELF):
        reason = no_graph or _disagreement(forward, reference, name, _random_inputs(card), device, network.dtype)
        if reason:
            graph, forward, no_graph = None, reference, f"{reason}; it runs in {name}"
        elif found.reference is not None and found.reference.batch is not None:
            fixed = f"the file's batch is fixed at {found.reference.batch}"
            found.assumed.append(f"{fixed}: the graph was freed of it, and compared with {name}")
    trial = tried(forward, _random_inputs(card, INPUTS).to(device), torch.finfo(network.dtype).eps)
    if trial.drawn:
        found.assumed.append(_drawing(trial.drawn))
    if trial.mixing:
        before = f"{no_graph}; " if no_graph else ""
        graph, forward, no_graph = None, _one_by_one(forward), f"{before}{trial.mixing}; it runs input by input"
    with torch.no_grad(), torch.random.fork_rng():
        outputs = _outputs(forward, torch.full((1, *card.input.shape), 0.5, device=device), found.place("input.shape"))
        last = found.network.last if isinstance(found.network, Opaque) else last_function(graph)
        means, assumed = meaning(probe(forward, card, device), card, last, found.place("output"))
    classes, against, notes = _classes(card.classes, outputs, found.place("classes"))
    return Model(
        card=card.model_copy(update={"classes": classes, "output": means}),
        graph=graph,
        forward=forward,
        format=found.format,
        source=storable(found.source),
        digest=found.digest,
        architecture=found.architecture,
        assumed=(*found.assumed, *assumed, *notes),
        no_graph=no_graph,
        device=device,
        guessed=_guessed(found, card, {"output": assumed, "classes": notes}),
        original=_original(found, reference, name) if graph is not None else None,
        against=against,
        draws=bool(trial.drawn),
        network=None if isinstance(found.network, Opaque) else found.network,
    )


def _original(found: Found, reference: Forward | None, name: str) -> Original | None:
    """Return what the graph was converted from and compared with, at rest."""
    if found.reference is None or reference is None:
        return None
    original = Original(name, reference, found.reference.rest)
    original.rest()
    return original


def _guessed(found: Found, card: Card, said: Mapping[str, list[str]]) -> dict[str, str]:
    """Return every field that nobody declared, or that is not what was declared, and why it is as it is."""
    assert card.input is not None
    names = ["classes", "output", *(f"input.{name}" for name in type(card.input).model_fields)]
    defaults = {name: "not declared anywhere; this is what is taken then" for name in names if name not in found.places}
    return {**defaults, **found.guessed, **{name: " ".join(lines) for name, lines in said.items() if lines}}


def _program(
    network: InputUnits, device: torch.device, identity: str = ""
) -> tuple[Graph | None, Callable[[torch.Tensor], torch.Tensor], str]:
    """Return the graph, what to call, and why there is no graph."""
    if isinstance(network.network, Opaque):
        reason = network.network.reason
    else:
        try:
            graph = trace(network, device, identity)
        except XaiError:
            raise
        except Exception as error:
            log.debug("torch.export failed", exc_info=True)
            reason = _no_export(error)
        else:
            return graph, graph, ""
    return None, _calling(network), reason


def _calling(network: InputUnits) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return a function that runs a module where it is."""
    own = next((tensor.device for tensor in network.network.parameters()), torch.device("cpu"))
    network.mean, network.std = network.mean.to(own), network.std.to(own)

    def forward(x: torch.Tensor) -> torch.Tensor:
        with evaluating(network):  # the user's own module: it stays where and as it is
            outputs: torch.Tensor = network(x.clone().to(own))
        return outputs.to(x.device) if isinstance(outputs, torch.Tensor) else outputs

    return forward


def _reference(found: Found, network: InputUnits) -> tuple[Callable[[torch.Tensor], torch.Tensor] | None, str]:
    """Return another way to run what was found, and its name; a graph is a conversion, so it is compared."""
    if found.reference is not None:
        return _calling(InputUnits(found.reference, network.spec)), found.reference.reason
    if isinstance(found.network, Opaque | Program):  # what has no graph, or is one
        return None, ""
    return _calling(network), "TorchScript" if isinstance(found.network, torch.jit.ScriptModule) else ITSELF


def _check_memory(graph: Graph | None, source: str) -> None:
    """Refuse a graph whose values would not fit into memory."""
    if graph is not None and graph.bytes_per_input > MAX_BYTES:
        raise RefusedFileError(
            f"model {source} needs {graph.bytes_per_input / 2**30:.1f} GiB for one input; expected at most "
            f"{MAX_BYTES // 2**30}"
        )


def _random_inputs(card: Card, count: int = 3) -> torch.Tensor:
    """Return random inputs within the card's span, the same each time."""
    assert card.input is not None
    low, high = card.input.span
    return low + (high - low) * torch.rand((count, *card.input.shape), generator=torch.Generator().manual_seed(0))


def _drawing(apart: float) -> str:
    """Say that a network draws random numbers, and what to do."""
    return (
        f"outputs are drawn at random: one input gives others each time, by {apart:.2g}. Dropout that does not end "
        "with training does that (write F.dropout(x, training=self.training)), as does a file exported in training "
        "mode (call net.eval() before the export)"
    )


def _one_by_one(forward: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda x: torch.cat([forward(row[None]) for row in x])


def _disagreement(
    forward: Forward,
    reference: Forward,
    name: str,
    x: torch.Tensor,
    device: torch.device,
    dtype: torch.dtype,
) -> str:
    """Say where a graph and its reference differ on random inputs, one alone and several, "" if they do not."""
    reasons = (_differing(forward, reference, name, batch, device, tolerance(dtype)) for batch in (x[:1], x))
    with torch.no_grad(), torch.random.fork_rng():
        return next(filter(None, reasons), "")


def _differing(
    forward: Forward, reference: Forward, name: str, x: torch.Tensor, device: torch.device, allowed: float
) -> str:
    try:
        wanted = seeded(reference, x)
    except XaiError:  # it takes too long, or too much memory
        raise
    except Exception as error:
        if name == ITSELF:  # it does not take that batch, and is compared on the other
            return ""
        raise RefusedFileError(f"{name} does not run the file: {' '.join(str(error).split())[:300]}") from error
    try:
        found = seeded(forward, x.to(device)).cpu()
    except Exception as error:
        return f"its graph does not run for a batch of {len(x)}: {' '.join(str(error).split())[:200]}"
    if not wanted.numel():
        return ""  # that there are no outputs is told where they are looked at
    if found.shape != wanted.shape:
        return f"its graph gives a tensor of shape {tuple(found.shape)}, and {name} {tuple(wanted.shape)}"
    worst = difference(found, wanted)
    many = f"{len(x)} input{'s'[: len(x) > 1]}"
    return "" if worst <= allowed else f"for {many} its graph differs from {name} by {worst:.2g} of the largest output"


def tolerance(dtype: torch.dtype) -> float:
    """Return by how much two runs of one network may differ that computes with such numbers, as a share."""
    return max(AGREEMENT, 4 * torch.finfo(dtype).eps)


def difference(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """Return the largest difference as a share of the largest number wanted: outputs of 1e-9 are compared, too."""
    found, wanted = found.double(), wanted.double()
    return float((found - wanted).abs().max() / wanted.abs().max().clamp(min=torch.finfo(torch.float32).tiny))


def _no_export(error: Exception) -> str:
    """Say why a network has no graph."""
    text = " ".join(str(error).split())
    if isinstance(error, UnfitError):
        return text
    if "Constraints violated (batch)" in text:
        return (
            "its batch size is fixed, so torch.export cannot follow it: in code len(x) does that, x.shape[0] does not; "
            "a file is exported with a dynamic batch instead"
        )
    return f"torch.export cannot follow this network ({type(error).__name__}: {text[:200]})"


def _outputs(forward: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, place: str) -> int:
    """Return how many outputs the network has; place says who declared the shape of x."""
    try:
        outputs = forward(x)
    except XaiError:
        raise
    except Exception as error:
        reason = _said(error)
        shape = tuple(x.shape[1:])
        said = f"{_wanted(reason, shape)}the network does not take inputs of shape {shape}: {reason}"
        raise RefusedFileError(f"{place} {list(shape)}: {said}") from error
    if not isinstance(outputs, torch.Tensor) or outputs.ndim != 2:
        got = (
            f"a tensor of shape {tuple(outputs.shape)}" if isinstance(outputs, torch.Tensor) else type(outputs).__name__
        )
        advice = "; for one score an input, return scores[:, None]" if got == "a tensor of shape (1,)" else ""
        raise RefusedFileError(f"the network returns {got}; expected one tensor (batch, classes){advice}")
    if outputs.shape[0] != len(x) or outputs.shape[1] == 0:
        raise RefusedFileError(
            f"the network returns {tuple(outputs.shape)} for a batch of {len(x)}; expected a row of scores an input"
        )
    return outputs.shape[1]


def _said(error: Exception) -> str:
    """Return an error's message in one line; a TorchScript program puts its own source before it."""
    text = str(error)
    own = text.rpartition("RuntimeError: ")[2] if "TorchScript" in text else text
    return " ".join(own.split())[:300]


def _wanted(reason: str, shape: tuple[int, ...]) -> str:
    """Say how many channels or numbers a network takes, where torch says so of the input itself."""
    channels = re.search(r"expected input\[\d+, ([\d, ]+)\] to have (\d+) channels", reason)
    if channels and channels[1] == ", ".join(map(str, shape)):
        return f"the network takes {channels[2]} channels, not {shape[0]}; "
    numbers = re.search(r"\(\d+x(\d+) and (\d+)x\d+\)", reason)
    if numbers and int(numbers[1]) == math.prod(shape):
        return f"the network takes {numbers[2]} numbers, not {numbers[1]}; "
    return ""


def _classes(declared: tuple[str, ...], outputs: int, place: str) -> tuple[tuple[str, ...], str, list[str]]:
    """Return a name for each output, what a single one speaks against ("" without a name), and what is assumed."""
    if len(declared) == outputs:
        return declared, "", []
    if len(declared) == 2 and outputs == 1:
        return (
            declared[1:],
            declared[0],
            [f"the one output is taken to speak for {declared[1]!r} and against {declared[0]!r}"],
        )
    if declared:
        raise RefusedFileError(
            f"{place}: {len(declared)} class names were given, and the network has {outputs} outputs"
        )
    if outputs == 1:
        return ("positive",), "", ["the one output has no name: it is called 'positive'"]
    return tuple(f"class {index}" for index in range(outputs)), "", ["classes have no names: they are numbered"]


def _check_finite(network: nn.Module, source: str) -> None:
    """Refuse NaN anywhere, and infinite parameters; a buffer may hold -inf, as attention masks do."""
    learnt = {name for name, _ in network.named_parameters()}
    for name, tensor in network.state_dict().items():
        plain = type(tensor) in (
            torch.Tensor,
            nn.Parameter,
        )  # a quantised tensor of torchao has no operators of its own
        if plain and tensor.is_floating_point():
            bad = ~torch.isfinite(tensor) if name in learnt else torch.isnan(tensor)
            if bad.any():
                count = f"{int(bad.sum())} of {tensor.numel()}"
                raise RefusedFileError(f"model {source}: {count} numbers in {name} are NaN or infinite")
