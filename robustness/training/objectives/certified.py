"""Certified training by the project's own bounds: IBP and CROWN-IBP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch.nn.functional import cross_entropy

from xai.registry import Kind, Method, Need
from xai.robustness.bounds.methods.base import bounders
from xai.robustness.norms import Norm
from xai.robustness.training.learner import Learner
from xai.robustness.training.objectives.base import Objective, Step, Watched, ramp


class Certified(Objective):
    """Cross-entropy of the worst scores that bounds allow, mixed with that of the inputs as they are."""

    about = Method(
        name="certified",
        title="Certified training",
        summary="Minimises the cross-entropy of the worst scores that interval (or CROWN-IBP) bounds allow around the "
        "images, mixed with that of the images as they are.",
        limits="What is proved of each image, the bounds on held-out images say, not the training. A network whose "
        "bounds are tight is less often right than one that was trained without.",
        source="Gowal et al. 2018, On the effectiveness of interval bound propagation for training verifiably robust "
        "models; Zhang et al. 2020, Towards stable and efficient training of verifiably robust neural networks",
        kind=Kind.HEURISTIC,
        needs=frozenset({Need.GRADIENTS, Need.GRAPH}),
    )
    watched: ClassVar[Watched] = "certified"
    norms: ClassVar[frozenset[Norm]] = frozenset(Norm)

    bound: Literal["ibp", "crown-ibp"] = Field(
        default="ibp", description="crown-ibp begins with CROWN-IBP's bounds and ends with IBP's; many times as dear."
    )
    warmup: float = Field(default=0.05, ge=0, lt=1, description="Share of the training before the change grows.")
    ramp: float = Field(
        default=0.5, gt=0, le=1, description="Share of the training after which the change has its full size."
    )
    kappa: float = Field(
        default=0.5, ge=0, le=1, description="Weight of the images as they are at the end; it falls from 1."
    )

    def size(self, epsilon: float, share: float) -> float:
        """Rise slowly: bounds of a network that was not trained for them say nothing, and nothing is learnt then."""
        return epsilon * ramp(share, self.warmup, max(self.ramp, self.warmup + 1e-6))

    def loss(self, learner: Learner, step: Step) -> torch.Tensor:
        """Return the mixture."""
        with learner.observed() as figures:
            clean = cross_entropy(learner.scores(step.x), step.labels)
        grown = ramp(step.share, self.warmup, max(self.ramp, self.warmup + 1e-6))
        if not grown:
            return clean
        kappa = 1 - (1 - self.kappa) * grown
        worst = cross_entropy(-self._leads(learner, step, grown, figures), step.labels)
        return kappa * clean + (1 - kappa) * worst

    def _leads(self, learner: Learner, step: Step, grown: float, figures: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return lower bounds of the leads; CROWN-IBP's share falls as the change grows."""
        leads = learner.leads(step.x, step.labels, step.epsilon, bounders.get("ibp")(), figures)
        if self.bound == "ibp" or grown == 1.0:
            return leads.float()
        tight = learner.leads(step.x, step.labels, step.epsilon, bounders.get(self.bound)(), figures)
        return (grown * leads + (1 - grown) * tight).float()
