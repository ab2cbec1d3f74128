"""What a network's outputs mean: declared in the card, else told from what they are for a few inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch

from xai.errors import RefusedFileError
from xai.models.card import Card
from xai.models.graph import Graph
from xai.models.layout import operator

Meaning = Literal["logits", "probabilities", "values"]
PROBES = 4
PROBABILITY = "predict_proba"  # what outputs come from that are probabilities, of one class among all or of each
_CLOSE = 1e-3
_CARRIERS = frozenset(("view", "reshape", "flatten", "squeeze", "unsqueeze", "clone", "contiguous", "_to_copy"))


def probe(forward: Callable[[torch.Tensor], torch.Tensor], card: Card, device: torch.device) -> torch.Tensor:
    """Return outputs (4, classes) for a black and a white input and seeded noise of growing contrast."""
    assert card.input is not None
    low, high = card.input.span
    noise = torch.rand((PROBES, *card.input.shape), generator=torch.Generator().manual_seed(0))
    contrast = torch.linspace(0, 1, PROBES).view(-1, *[1] * len(card.input.shape))
    shares = 0.5 + contrast * (noise - 0.5)
    shares[0], shares[1] = 0, 1
    return torch.cat([forward(x[None].to(device)) for x in low + (high - low) * shares]).double().cpu()


def last_function(graph: Graph | None) -> str:
    """Return the operator that the outputs come from, "" if that is not known."""
    if graph is None:
        return ""
    (node,) = [node for node in graph.module.graph.nodes if node.op == "output"]
    while node.all_input_nodes and (node.op == "output" or operator(node) in _CARRIERS):
        node = node.all_input_nodes[0]
    return operator(node) if node.op == "call_function" else ""


def meaning(outputs: torch.Tensor, card: Card, last: str, place: str = "output") -> tuple[Meaning, list[str]]:
    """Return what outputs (probes, classes) mean, and what had to be assumed.

    Args:
        outputs: for some inputs.
        card: what is declared; evidence goes before a declaration that it contradicts, and that is said.
        last: the operator that the outputs come from, "" if that is not known.
        place: who declared the outputs' meaning, in words.

    Raises:
        RefusedFileError: they are declared to be probabilities and cannot be.
    """
    found, why = _evidence(outputs, last)
    declared = card.output if "output" in card.model_fields_set else None
    if declared == "probabilities" and found != "probabilities" and not _may_be_shares(outputs):
        sums = outputs.sum(dim=1)
        raise RefusedFileError(
            f"{place}: probabilities were declared, but for {len(outputs)} inputs the outputs lie between "
            f"{outputs.min():.4g} and {outputs.max():.4g} and sum to {sums.min():.4g} to {sums.max():.4g}; "
            "declare logits, or values for what is neither"
        )
    if declared == "logits" and found != "logits":
        return found, [f"outputs are declared to be logits, but {why}: they are taken for {found}"]
    if declared is not None or found == "logits":
        return declared or found, []
    advice = "near 0 and 1 their gradients vanish, so a network that returns logits is explained better"
    return found, [f"outputs are taken for {found}, since {why}: {advice}; card field: output"]


def _evidence(outputs: torch.Tensor, last: str) -> tuple[Meaning, str]:
    """Return what outputs (probes, classes) must be, and why."""
    if last in ("sigmoid", "hardsigmoid"):
        one = outputs.shape[1] == 1
        return ("probabilities", "a sigmoid gives it") if one else ("values", "a sigmoid gives each: yes or no")
    if outputs.shape[1] > 1 and _may_be_shares(outputs):
        return "probabilities", "they sum to one"
    if last == PROBABILITY:
        return "values", "predict_proba gives each: yes or no"
    return "logits", ""


def _may_be_shares(outputs: torch.Tensor) -> bool:
    """Say whether outputs (probes, classes) lie between 0 and 1 and, if there are several, sum to one."""
    inside = bool((outputs >= -_CLOSE).all() and (outputs <= 1 + _CLOSE).all())
    return inside and (outputs.shape[1] == 1 or bool(((outputs.sum(dim=1) - 1).abs() <= _CLOSE).all()))
