"""The network in training as objectives see it: scores, adversarial inputs, and bounds with gradients."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from xai.models.model import Model
from xai.models.trainable import Trainable
from xai.robustness.bounds.methods.base import Bounder
from xai.robustness.bounds.outputs import Bounding
from xai.robustness.norms import Norm, steepest
from xai.robustness.regions import Region
from xai.robustness.victim import Victim

LONGEST = 1.25  # PGD's longest step, of the region's size (Wong et al. 2020)
SLOPE = 2.5  # PGD's step, of the region's size over the number of steps (Madry et al. 2018)
Loss = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Learner:
    """A network in training.

    Args:
        trained: the network and its evaluation.
        norm: of the changes that it is to withstand.
    """

    trained: Trainable
    norm: Norm

    @cached_property
    def _learning(self) -> Victim:
        return Victim(replace(self.evaluated, forward=self.trained.scores))

    @property
    def evaluated(self) -> Model:
        """The model as it would answer now."""
        return self.trained.evaluated

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return len(self.evaluated.answers)

    def scores(self, x: torch.Tensor) -> torch.Tensor:
        """Return scores (n, classes) that behave as logits, in the mode that the network is in."""
        with self.precision():
            return self._learning.scores(x).float()

    @contextmanager
    def precision(self) -> Iterator[None]:
        """Compute in bfloat16 where a GPU does: it keeps float32's range, so no loss needs to be scaled."""
        with torch.autocast("cuda", torch.bfloat16, enabled=self.evaluated.device.type == "cuda"):
            yield

    def region(self, epsilon: float) -> Region:
        """Return the ball of a size, clipped to the model's range."""
        low, high = self.evaluated.input.range or (-math.inf, math.inf)
        return Region(self.norm, epsilon, low, high)

    def climbed(self, x: torch.Tensor, start: torch.Tensor, loss: Loss, region: Region, steps: int) -> torch.Tensor:
        """Return points (n, ...) of the region around x that steps along a loss's gradient lead to: PGD.

        They are looked for in evaluation: figures of batch normalisation are those of the data, not of the search.

        Args:
            x: (n, ...) inputs.
            start: (n, ...) where the search begins, within the region.
            loss: of scores (n, classes), (n,).
            region: to stay in.
            steps: how many, each of 2.5 times the region's size over their number, at most 1.25 times
                (one step: Wong et al. 2020).
        """
        if region.epsilon == 0:
            return x
        length = region.epsilon * min(SLOPE / steps, LONGEST)
        into = _projection(region, x)
        points = start
        with self.trained.evaluation():
            for _ in range(steps):
                points = points.detach().requires_grad_()
                (slope,) = torch.autograd.grad(loss(self.scores(points)).sum(), points)
                points = into(points.detach() + length * steepest(slope, region.norm))
        return points.detach()

    @contextmanager
    def observed(self) -> Iterator[dict[str, torch.Tensor]]:
        """Give the figures, filled as inputs go through, by which batch normalisation in training treats its batch.

        They are named as the graph names those that it treats inputs by in evaluation, and have gradients.
        """
        figures: dict[str, torch.Tensor] = {}

        def remember(name: str) -> Callable[[nn.Module, tuple[torch.Tensor, ...]], None]:
            def look(module: nn.Module, given: tuple[torch.Tensor, ...]) -> None:
                if module.training:
                    axes = [axis for axis in range(given[0].ndim) if axis != 1]
                    variance, mean = torch.var_mean(given[0].float(), axes, correction=0)
                    figures[f"{name}.running_mean"], figures[f"{name}.running_var"] = mean, variance

            return look

        normed = ((name, one) for name, one in self.trained.network.named_modules() if isinstance(one, _BatchNorm))
        hooks = [one.register_forward_pre_hook(remember(name)) for name, one in normed]
        try:
            yield figures
        finally:
            for hook in hooks:
                hook.remove()

    def leads(
        self,
        x: torch.Tensor,
        labels: torch.Tensor,
        epsilon: float,
        bounder: Bounder,
        figures: Mapping[str, torch.Tensor],
    ) -> torch.Tensor:
        """Return a lower bound (n, classes) of how far each label scores above every class, with gradients.

        Args:
            x: (n, ...) inputs.
            labels: (n,) their classes.
            epsilon: size of the change.
            bounder: the method.
            figures: of batch normalisation, see `observed`; those that are missing are as in evaluation. With the
                batch's own a bound cannot be narrowed by what the next batches' figures undo (Shi et al. 2021).
        """
        bounding = Bounding(self.evaluated, bounder, learning=True, tensors=figures)
        return bounding.leads(bounding.inputs(x, self.norm, epsilon), labels)


def _projection(region: Region, x: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return what moves points into the region around x: of linf a box, which is the same at every step."""
    if region.norm is not Norm.LINF:
        return lambda points: region.project(x, points)
    lower, upper = region.box(x)
    return lambda points: torch.minimum(torch.maximum(points, lower), upper)
