"""The model as attacks see it: class scores and gradients, with every pass counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from xai.errors import NotApplicableError
from xai.models.model import Model

_SMALLEST = 1e-38


@dataclass
class Victim:
    """A model under attack.

    Args:
        model: what is attacked.
        forwards: inputs that went through it.
        backwards: inputs whose gradient was taken.
    """

    model: Model
    forwards: int = 0
    backwards: int = 0

    def __post_init__(self) -> None:
        """Refuse a model without classes."""
        if self.model.card.output == "values":
            raise NotApplicableError("its outputs are values, not classes: there is no wrong answer to look for")

    @property
    def classes(self) -> int:
        """How many classes there are; one output stands for two, as labels do: 0 against its class, 1 for it."""
        return len(self.model.answers)

    def scores(self, x: torch.Tensor) -> torch.Tensor:
        """Return scores (n, classes) that behave as logits, for inputs (n, ...); the highest is the answer."""
        self.forwards += len(x)
        outputs = self.model(x)
        if self.model.card.output == "probabilities":
            if outputs.shape[1] == 1:
                outputs = torch.cat((1 - outputs, outputs), dim=1)
            return outputs.clamp(min=_SMALLEST).log()
        if outputs.shape[1] == 1:
            return torch.cat((torch.zeros_like(outputs), outputs), dim=1)
        return outputs

    def differentiated(
        self, x: torch.Tensor, loss: Callable[[torch.Tensor], torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return scores (n, classes), a loss of them (n,), and its gradient (n, ...) at x (n, ...).

        For k losses (n, k) there are k gradients, (n, k, ...).
        """
        with torch.enable_grad():
            points = x.detach().requires_grad_()
            scores = self.scores(points)
            value = loss(scores)
            columns = [value] if value.ndim == 1 else list(value.unbind(1))
            slopes = [_slope(column, points, last=column is columns[-1]) for column in columns]
        self.backwards += len(x) * len(columns)
        return scores.detach(), value.detach(), slopes[0] if value.ndim == 1 else torch.stack(slopes, 1)


def _slope(value: torch.Tensor, points: torch.Tensor, *, last: bool) -> torch.Tensor:
    """Return the gradient of a loss (n,), zero where none leads back to the points, as through integers."""
    if not value.requires_grad:
        return torch.zeros_like(points)
    return torch.autograd.grad(value.sum(), points, retain_graph=not last, allow_unused=True, materialize_grads=True)[0]
