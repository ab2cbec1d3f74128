"""The score as a target: a model whose one output says how foreign an input is, so that explainers can ask why."""

from __future__ import annotations

from collections.abc import Callable

import torch

from xai.errors import unknown
from xai.models.model import Model
from xai.models.targets import Target
from xai.robustness.ood.features import Reader
from xai.robustness.ood.guard import COMBINED, Guard

SCORE = "being out-of-distribution"


def foreignness(model: Model, guard: Guard, name: str = COMBINED) -> tuple[Model, Target]:
    """Return a model of the same inputs whose one output is a score, and that output as a target.

    Gradients flow through it wherever the detectors' formulas have them; they are zero where a formula has steps.

    Args:
        model: that is watched.
        guard: fitted to it.
        name: of a detector or a combination.

    Raises:
        UsageError: there is no such detector, or the guard is of another model.
    """
    known = {**guard.fitted.fitted, **guard.combinations}
    if name not in known:
        raise unknown("detector", name, known)
    card = model.card.model_copy(update={"classes": (SCORE,), "output": "values"})
    watched = Model(
        card=card,
        graph=None,
        forward=_scores(guard, guard.fitted.reader(model), name),
        format=model.format,
        source=model.source,
        no_graph="its output is a score of what the network's layers hold",
        device=model.device,
        draws=model.draws,
    )
    return watched, watched.target(0)


def _scores(guard: Guard, reader: Reader, name: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return what gives scores (n, 1) float32 of inputs (n, ...)."""
    members = guard.combinations[name].members if name in guard.combinations else (name,)
    fitted = {member: guard.fitted.fitted[member] for member in members}
    reads = frozenset().union(*(one.detector.reads for one in fitted.values()))

    def forward(inputs: torch.Tensor) -> torch.Tensor:
        seen = reader.read(inputs, reads=reads)
        scores = {member: one.score(seen) for member, one in fitted.items()}
        found = guard.combinations[name].score(scores) if name in guard.combinations else scores[name]
        return found.float()[:, None]

    return forward
