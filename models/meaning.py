"""What a network's outputs mean: declared in the card, else told from what they are for a few inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch

from xai.errors import RefusedFileError
from xai.models.card import Card

Meaning = Literal["logits", "probabilities", "values"]
PROBES = 4
_CLOSE = 1e-3


def probe(forward: Callable[[torch.Tensor], torch.Tensor], card: Card, device: torch.device) -> torch.Tensor:
    """Return outputs (4, classes) for a black and a white input and seeded noise of growing contrast."""
    assert card.input is not None
    low, high = card.input.range
    noise = torch.rand((PROBES, *card.input.shape), generator=torch.Generator().manual_seed(0))
    contrast = torch.linspace(0, 1, PROBES).view(-1, 1, 1, 1)
    shares = 0.5 + contrast * (noise - 0.5)
    shares[0], shares[1] = 0, 1
    return torch.cat([forward(x[None].to(device)) for x in low + (high - low) * shares]).double().cpu()


def meaning(outputs: torch.Tensor, card: Card) -> tuple[Meaning, list[str]]:
    """Return what outputs (probes, classes) mean, and what had to be assumed.

    Raises:
        RefusedFileError: they are declared to be probabilities and cannot be.
    """
    sums = outputs.sum(dim=1)
    shares = bool((outputs >= -_CLOSE).all() and (outputs <= 1 + _CLOSE).all())
    one = outputs.shape[1] == 1
    alike = shares and (one or bool(((sums - 1).abs() <= _CLOSE).all()))
    declared = card.output if "output" in card.model_fields_set else None
    if declared == "probabilities" and not alike:
        raise RefusedFileError(
            f"the card declares output: probabilities, but for {len(outputs)} inputs the outputs lie between "
            f"{outputs.min():.4g} and {outputs.max():.4g} and sum to {sums.min():.4g} to {sums.max():.4g}; "
            "declare logits, or values for what is neither"
        )
    if declared is not None:
        mistaken = declared == "logits" and alike and not one
        return declared, ["outputs are declared to be logits, but they sum to one as probabilities do"] * mistaken
    if not alike:
        return "logits", []
    told = "the output lies between 0 and 1" if one else "they sum to one"
    return "probabilities", [
        f"outputs are taken for probabilities, since {told}: near 1 their gradients vanish, so a network that returns "
        "logits is explained better; card field: output"
    ]
