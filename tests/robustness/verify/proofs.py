"""Networks with properties that hold, proved, for tests of proofs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

import xai
from xai.models.model import Model
from xai.robustness.bounds.analysis import Analysis
from xai.robustness.bounds.inputs import Inputs
from xai.robustness.bounds.interval import Interval
from xai.robustness.bounds.methods.base import bounders
from xai.robustness.bounds.outputs import Bounding
from xai.robustness.bounds.program import Program
from xai.robustness.bounds.rounding import Arithmetic, Rounding
from xai.robustness.norms import Norm
from xai.robustness.verify.condensed import condensed
from xai.robustness.verify.decide import Outcome, Verifier
from xai.robustness.verify.proof import write_proof
from xai.robustness.verify.property import Case, Property


class Block(nn.Module):
    """A convolution beside which its input goes past it."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Conv2d(2, 2, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x + self.inner(torch.relu(x)))


def dense(inputs: int, seed: int, rectifier: nn.Module | None = None) -> nn.Module:
    torch.manual_seed(seed)
    bend = rectifier or nn.ReLU()
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, 9), bend, nn.Linear(9, 8), bend, nn.Linear(8, 3)).eval()


def convolutional(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    norm = nn.BatchNorm2d(2)
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    return nn.Sequential(
        nn.Conv2d(1, 2, 3, stride=2, padding=1),
        norm,
        nn.ReLU(),
        Block(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(8, 3),
    ).eval()


def pooling(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2, padding=1),
        nn.Conv2d(3, 4, 3),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(4, 8),
        nn.ReLU(),
        nn.Linear(8, 3),
    ).eval()


@dataclass(frozen=True)
class Proved:
    """A network, a property, and what was found of it."""

    model: Model
    wanted: Property
    program: Program
    outcome: Outcome
    arithmetic: Arithmetic

    def written(self, path: Path) -> Path:
        write_proof(path, self.outcome, self.wanted, self.program, self.model.fingerprint, self.arithmetic)
        return path


def around(shape: Sequence[int], radius: float, seed: int, norm: Norm = Norm.LINF) -> Inputs:
    generator = torch.Generator().manual_seed(seed)
    centre = torch.rand((1, 1, *shape), generator=generator, dtype=torch.float64)
    ends = Interval(centre - radius, centre + radius)
    return Inputs(ends, centre, norm, None if norm is Norm.LINF else torch.tensor([radius], dtype=torch.float64))


def proved(
    net: nn.Module,
    region: Inputs,
    share: float,
    rows: int = 1,
    cases: int = 1,
    seconds: float = 30,
    arithmetic: Arithmetic = Arithmetic.REAL,
) -> Proved:
    """Return a property that is proved: each limit lies a share of the way from what points reach to CROWN's bound."""
    shape = tuple(region.centre.shape[2:])
    model = xai.load(net, shape=shape, mean=0.0, std=1.0, range=(-9.0, 9.0), classes=("a", "b", "c"), output="values")
    program = condensed(Bounding(model, bounders.get("crown")(), arithmetic).program)
    generator = torch.Generator().manual_seed(0)
    shares = torch.rand((4000, *shape), generator=generator, dtype=torch.float64)
    points = region.box.lower[0] + (region.box.upper - region.box.lower)[0] * shares
    found = []
    for case in range(cases):
        matrix = torch.randn((rows, 3), generator=generator, dtype=torch.float64)
        analysis = Analysis(program.steps, region, Rounding(arithmetic, torch.float64))
        with torch.no_grad():
            analysis.spread(program.output, analysis.lowest)
            low = analysis.lowest(program.output, matrix.reshape(rows, 1, 1, 3))[:, 0]
        met = (program.value(_low(model, region, points, matrix)) @ matrix.T).amin(0)
        found.append(Case(region, matrix, met + share * (low - met), f"case {case}"))
    wanted = Property(tuple(found), "below what points reach")
    verifier = Verifier(
        program, model.needed_graph(), bounders.get("crown")(), bounders.get("alpha-crown")(), arithmetic
    )
    return Proved(model, wanted, program, verifier.decide(wanted, seconds), arithmetic)


def conjunction(seed: int, apart: float, seconds: float = 30) -> Proved:
    """Return a property of two rows that are met each, and both at once only by so much less."""
    net = dense(20, seed)
    region = around((20,), 1.0, seed)
    model = xai.load(net, shape=(20,), mean=0.0, std=1.0, range=(-9.0, 9.0), classes=("a", "b", "c"), output="values")
    rows = torch.tensor([[-1.0, 0.5, 0.0], [0.25, -1.0, 0.0]], dtype=torch.float64)
    lower, upper = region.box.lower[0].float(), region.box.upper[0].float()
    x = (lower + (upper - lower) * torch.rand(300, 20, generator=torch.Generator().manual_seed(1))).requires_grad_()
    adam = torch.optim.Adam([x], 0.05)
    for _ in range(300):
        adam.zero_grad()
        both = (model(x).double() @ rows.T).amax(1)  # type: ignore[operator]  # a model is called
        both.sum().backward()
        adam.step()
        x.data = x.data.clamp(lower, upper)
    limit = float(both.detach().min()) - apart
    case = Case(region, rows, torch.full((2,), limit, dtype=torch.float64), "both at once")
    wanted = Property((case,), "never both at once")
    program = condensed(Bounding(model, bounders.get("crown")()).program)
    verifier = Verifier(program, model.needed_graph(), bounders.get("crown")(), bounders.get("alpha-crown")())
    return Proved(model, wanted, program, verifier.decide(wanted, seconds), Arithmetic.REAL)


def _low(model: Model, region: Inputs, points: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """Return points with those corners of a box that the network falls towards from some of them."""
    start = points[:200].float().requires_grad_()
    corners = []
    for row in matrix:
        (slope,) = torch.autograd.grad((model(start).double() @ row).sum(), start)
        corners.append(torch.where(slope > 0, region.box.lower[0], region.box.upper[0]))
    return torch.cat([points, *corners])
