"""What attacks raise: functions of class scores (n, classes), large where the model is wrong; each gives (n,)."""

from __future__ import annotations

import torch
from torch.nn.functional import cross_entropy as _cross_entropy

_SMALLEST = 1e-12


def cross_entropy(scores: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """Return -log softmax of the label's score."""
    return _cross_entropy(scores, label, reduction="none")


def own(scores: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """Return the label's score."""
    return scores.gather(1, label[:, None])[:, 0]


def best_other(scores: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """Return the highest score besides the label's."""
    return scores.scatter(1, label[:, None], -torch.inf).amax(1)


def margin(scores: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """Return by how much the best other class beats the label: positive where the model is wrong."""
    return best_other(scores, label) - own(scores, label)


def difference_of_logits_ratio(scores: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """Return the margin over the gap of first and third score: no scaling of the logits changes it.

    Croce and Hein 2020, Reliable evaluation of adversarial robustness. Needs three classes.
    """
    ordered = scores.sort(dim=1, descending=True).values
    return margin(scores, label) / (ordered[:, 0] - ordered[:, 2] + _SMALLEST)


def targeted_ratio(scores: torch.Tensor, label: torch.Tensor, toward: torch.Tensor) -> torch.Tensor:
    """Return by how much a class beats the label, over the gap of the first and the mean of third and fourth score.

    Croce and Hein 2020, as above. Needs four classes.
    """
    ordered = scores.sort(dim=1, descending=True).values
    gap = ordered[:, 0] - (ordered[:, 2] + ordered[:, 3]) / 2
    return (own(scores, toward) - own(scores, label)) / (gap + _SMALLEST)
