"""What the tests of attacks that look for the smallest change share."""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import nn

import xai
from tests.robustness.victims import SHAPE, linear
from xai.models.model import Model
from xai.robustness.attacks.base import Attack, Scene
from xai.robustness.norms import Norm
from xai.robustness.regions import Region
from xai.robustness.search import Case, Found, search
from xai.robustness.victim import Victim

ORDER = {Norm.LINF: torch.inf, Norm.L2: 2, Norm.L1: 1}


@cache
def straight() -> Model:
    """Return a linear network whose range no smallest change of the cases touches."""
    return linear(range=(-3.0, 4.0))


class Bends(nn.Module):
    """Scores with bends, each class about as often the highest as another."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(5)
            self.layers = nn.Sequential(nn.Linear(20, 24), nn.ReLU(), nn.Linear(24, 16), nn.Tanh(), nn.Linear(16, 5))
            with torch.no_grad():
                scores = self(torch.rand(1000, *SHAPE))
        self.register_buffer("middle", scores.mean(0))
        self.register_buffer("spread", scores.std(0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores = self.layers(6 * (x.flatten(1) - 0.5))
        return (scores - self.middle) / self.spread if hasattr(self, "middle") else scores


@cache
def curved() -> Model:
    """Return a small network with bends, on pixels in [0, 1]."""
    return xai.load(Bends(), shape=SHAPE, mean=0.0, std=1.0, range=(0.0, 1.0))


def scene(model: Model, norm: Norm, targeted: bool = False) -> Scene:
    low, high = model.input.range
    return Scene(Region(norm, math.inf, low, high), torch.Generator().manual_seed(0), targeted)


def attacked(attack: Attack, model: Model, found: Case, norm: Norm, batch: int = 100) -> Found:
    return search(attack, Victim(model), found, scene(model, norm, found.wanted is not None), batch=batch)


class Watched(Victim):
    """Keeps the points that it is shown."""

    def scores(self, x: torch.Tensor) -> torch.Tensor:
        self.__dict__.setdefault("shown", []).append(x.detach().clone())
        return super().scores(x)


def path(attack: Attack, model: Model, found: Case, norm: Norm) -> torch.Tensor:
    """Return every point (looks, ...) that is looked at for a case of one input."""
    victim = Watched(model)
    search(attack, victim, found, scene(model, norm, found.wanted is not None), batch=1)
    return torch.cat(victim.__dict__["shown"])
