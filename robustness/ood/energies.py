"""Scores of logits that detectors share."""

from __future__ import annotations

import torch


def energy(logits: torch.Tensor, temperature: float = 1.0) -> torch.Tensor:
    """Return the free energy (n,) of logits (n, classes): minus T times the logsumexp of logits / T."""
    return -temperature * torch.logsumexp(logits / temperature, dim=1)


def runners_up(logits: torch.Tensor) -> torch.Tensor:
    """Return the odds (n,) against the highest class of logits (n, classes), without loss where it is all but sure."""
    shifted = (logits - logits.max(1, keepdim=True).values).exp()
    return shifted.scatter(1, logits.argmax(1, keepdim=True), 0.0).sum(1)
