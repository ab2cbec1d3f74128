"""Models that hide their gradients, each in one way, and the images that alarms look at."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

import xai
from xai.models.model import Model
from xai.models.samples.digits import CLASSES, make, split
from xai.reports.records import Speaks
from xai.robustness.alarms.base import Signal, Subject, alarms
from xai.robustness.norms import Norm
from xai.robustness.regions import Region
from xai.robustness.search import Case
from xai.robustness.victim import Victim
from xai.runtime import Runtime

Part = Callable[[torch.Tensor], torch.Tensor]


class Hidden(nn.Module):
    """The sample's network between something that is done to its input and something that is done to its scores."""

    def __init__(self, model: Model, before: Part, after: Part) -> None:
        super().__init__()
        assert model.graph is not None
        self.network = make()
        state = model.graph.module.state_dict()
        self.network.load_state_dict(
            {key.removeprefix("network."): value for key, value in state.items()}, strict=False
        )
        self.before, self.after = before, after

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.after(self.network(self.before(x)))


def same(x: torch.Tensor) -> torch.Tensor:
    return x


def hidden(model: Model, before: Part = same, after: Part = same) -> Model:
    """Return a model that hides the gradients of the sample's."""
    module = Hidden(model, before, after).eval()
    return xai.load(module, shape=(1, 8, 8), range=(0, 1), mean=0.0, std=1.0, classes=CLASSES, name="hidden")


def subject(
    model: Model,
    epsilon: float,
    *,
    images: tuple[torch.Tensor, torch.Tensor] | None = None,
    norm: Norm = Norm.LINF,
    count: int = 64,
    surrogate: Model | None = None,
    wanted: int | None = None,
) -> Subject:
    """Return the first images that a model gets right, of the sample's test split if none are given."""
    x, y = images or (split()[1].images[:100], split()[1].labels[:100])
    with torch.no_grad():
        clean = Victim(model).scores(x)
    keep = clean.argmax(1) == y
    if wanted is not None:
        keep &= y != wanted
    rows = keep.nonzero()[:count, 0]
    toward = None if wanted is None else torch.full_like(y, wanted)
    low, high = model.input.range or (-torch.inf, torch.inf)
    case = Case(x, y, toward, clean).take(rows)
    return Subject(model, case, Region(norm, epsilon, low, high), Runtime(), 64, surrogate)


def heard(found: Subject, *names: str) -> dict[str, Signal]:
    """Return what alarms say; of all of them, those that need no surrogate if there is none."""
    able = [name for name in alarms.all() if found.surrogate is not None or name != "transfer"]
    return {name: alarms.get(name)().listen(found) for name in names or able}


def spoken(found: Subject, *names: str) -> dict[str, Speaks]:
    """Return which way they speak."""
    return {name: signal.speaks for name, signal in heard(found, *names).items()}
