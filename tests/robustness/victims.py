"""Networks whose nearest adversarial inputs are known, and cases to attack them with."""

from __future__ import annotations

import torch
from torch import nn

import xai
from xai.models.model import Model
from xai.robustness.search import Case
from xai.robustness.victim import Victim

SHAPE = (1, 4, 5)


class Scores(nn.Module):
    """Weighted sums of all pixels."""

    def __init__(self, classes: int = 5, scale: float = 1.0) -> None:
        super().__init__()
        self.linear = nn.Linear(20, classes)
        generator = torch.Generator().manual_seed(3)
        self.linear.weight.data = scale * torch.randn(classes, 20, generator=generator)
        self.linear.bias.data = scale * 0.1 * torch.randn(classes, generator=generator)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x.flatten(1))


def linear(classes: int = 5, **declared: object) -> Model:
    limits = {"shape": SHAPE, "mean": 0.0, "std": 1.0, "range": (-10.0, 10.0), **declared}
    return xai.load(Scores(classes), **limits)


def case(model: Model, count: int = 12, seed: int = 0, wanted: int | None = None) -> Case:
    """Return inputs in the middle of the range, each with the class that the model gives it."""
    x = torch.rand(count, *model.input.shape, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        clean = Victim(model).scores(x)
    toward = None
    if wanted is not None:
        keep = clean.argmax(1) != wanted
        x, clean = x[keep], clean[keep]
        toward = torch.full((len(x),), wanted)
    return Case(x, clean.argmax(1), toward, clean)


def nearest(model: Model, found: Case, order: float) -> torch.Tensor:
    """Return the exact smallest change (n,) of a linear network: margin over the dual norm of the weights' gap."""
    weight = torch.autograd.functional.jacobian(lambda x: model(x)[0], found.x[:1])[:, 0].flatten(1).double()
    dual = {torch.inf: 1, 2: 2, 1: torch.inf}[order]
    distances = []
    for row, label, wanted in zip(
        found.clean.double(), found.label, found.label if found.wanted is None else found.wanted, strict=True
    ):
        gaps = (row[label] - row) / torch.linalg.vector_norm(weight[label] - weight, ord=dual, dim=1)
        if found.wanted is None:
            gaps[label] = torch.inf
            distances.append(gaps.min())
        else:
            distances.append(_to_class(row, weight, int(wanted), order))
    return torch.stack(distances)


def _to_class(scores: torch.Tensor, weight: torch.Tensor, wanted: int, order: float) -> torch.Tensor:
    """Return the smallest change that makes a class the highest, by linear or quadratic programming."""
    import numpy as np
    from scipy.optimize import linprog, minimize

    rows = np.delete((weight - weight[wanted]).numpy(), wanted, axis=0)
    gaps = np.delete((scores - scores[wanted]).numpy(), wanted)  # rows @ d <= -gaps
    size = rows.shape[1]
    if order == 2:
        found = minimize(
            lambda d: d @ d,
            np.zeros(size),
            jac=lambda d: 2 * d,
            constraints={"type": "ineq", "fun": lambda d: -gaps - rows @ d, "jac": lambda d: -rows},
            options={"ftol": 1e-14, "maxiter": 1000},
        )
        return torch.tensor(float(np.sqrt(found.fun)), dtype=torch.float64)
    extra = 1 if order == torch.inf else size
    cost = np.r_[np.zeros(size), np.ones(extra)]
    bound = np.ones((size, 1)) if order == torch.inf else np.eye(size)
    above = np.r_[np.c_[rows, np.zeros((len(rows), extra))], np.c_[np.eye(size), -bound], np.c_[-np.eye(size), -bound]]
    found = linprog(cost, above, np.r_[-gaps, np.zeros(2 * size)], bounds=(None, None))
    return torch.tensor(float(found.fun), dtype=torch.float64)
