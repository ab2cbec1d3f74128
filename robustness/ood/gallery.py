"""Known images that a new one is put beside: those whose features point the same way."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from xai.robustness.ood.detectors.base import Seen


@dataclass(frozen=True)
class Gallery:
    """What is remembered of some known images.

    Args:
        directions: (n, d) float32, of length one: see `directions`.
    """

    directions: torch.Tensor

    def nearest(self, wanted: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the places (m, k) of the known images that are most alike, and how much: cosines (m, k) float64.

        Of images that are equally alike the first is taken.

        Args:
            wanted: directions (m, d) of other images.
            count: k, at most n.
        """
        alike = wanted.double() @ self.directions.to(wanted.device).double().T
        order = alike.argsort(dim=1, descending=True, stable=True)[:, :count]
        return order, alike.gather(1, order)


def directions(seen: Seen) -> torch.Tensor:
    """Return features (n, d) float32 at length one; of a model without features its logits, less their mean."""
    features = seen.features if seen.features.shape[1] else seen.logits - seen.logits.mean(1, keepdim=True)
    length: torch.Tensor = torch.linalg.vector_norm(features, dim=1, keepdim=True)
    return (features / length.clamp(min=1e-12)).float()
