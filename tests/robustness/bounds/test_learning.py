"""Bounds that a network is trained by: their gradients for the weights are those of the bounds themselves."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from xai.api import load
from xai.models.model import Model
from xai.models.trainable import Trainable, trainable
from xai.robustness.bounds.methods.base import Bounder
from xai.robustness.bounds.methods.crown_ibp import CrownIbp
from xai.robustness.bounds.methods.ibp import Ibp
from xai.robustness.bounds.outputs import Bounding
from xai.robustness.norms import Norm

EPSILON, STEP = 0.02, 1e-4


class Branched(nn.Module):
    """Convolution, figures of training, a maximum, a mean, a sum of two branches, a matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.second = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.pool = nn.MaxPool2d(2)
        self.mean = nn.AdaptiveAvgPool2d(2)
        self.head = nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.first(x)).relu()
        x = self.pool(x + self.second(x)).relu()
        return self.head(self.mean(x).flatten(1))


@pytest.fixture(scope="module")
def trained() -> Trainable:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = Branched()
        network.norm.running_mean.uniform_(-0.2, 0.2)
        network.norm.running_var.uniform_(0.5, 2.0)
    return trainable(load(network, shape=(1, 8, 8)))


def leads(model: Model, bounder: Bounder, norm: Norm, *, learning: bool) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    x, labels = torch.rand(6, 1, 8, 8, generator=generator), torch.randint(3, (6,), generator=generator)
    bounding = Bounding(model, bounder, learning=learning)
    return bounding.leads(bounding.inputs(x, norm, EPSILON), labels)


WAYS = [(Ibp(), Norm.LINF), (CrownIbp(), Norm.LINF), (CrownIbp(), Norm.L2)]


@pytest.mark.parametrize(("bounder", "norm"), WAYS)
def test_the_gradient_is_the_slope_of_the_bound(trained: Trainable, bounder: Bounder, norm: Norm) -> None:
    found = leads(trained.evaluated, bounder, norm, learning=True)
    names, weights = zip(*trained.learnt.items(), strict=True)
    gradients = torch.autograd.grad(found.sum(), weights)
    generator = torch.Generator().manual_seed(1)
    for name, weight, gradient in zip(names, weights, gradients, strict=True):
        assert gradient.abs().sum() > 0, name
        direction = torch.randn(weight.shape, generator=generator)
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                weight.add_(sign * STEP * direction)
            ends.append(leads(trained.evaluated, bounder, norm, learning=False).sum().item())
            with torch.no_grad():
                weight.sub_(sign * STEP * direction)
        slope = (ends[0] - ends[1]) / (2 * STEP)
        wanted = (gradient * direction).sum().item()
        scale = (gradient * direction).abs().sum().item()
        assert slope == pytest.approx(wanted, abs=0.02 * scale), name


@pytest.mark.parametrize(("bounder", "norm"), WAYS)
def test_learning_changes_the_bound_by_rounding_only(trained: Trainable, bounder: Bounder, norm: Norm) -> None:
    exact = leads(trained.evaluated, bounder, norm, learning=False)
    found = leads(trained.evaluated, bounder, norm, learning=True)
    assert not exact.requires_grad
    assert found.requires_grad
    torch.testing.assert_close(found.detach(), exact, rtol=1e-4, atol=1e-4)


def test_a_box_of_no_width_has_a_gradient(trained: Trainable) -> None:
    bounding = Bounding(trained.evaluated, CrownIbp(), learning=True)
    x = torch.zeros(2, 1, 8, 8)
    found = bounding.leads(bounding.inputs(x, Norm.LINF, 0.0), torch.tensor([0, 1]))
    for gradient in torch.autograd.grad(found.sum(), list(trained.learnt.values())):
        assert gradient.isfinite().all()


def test_what_is_bounded_without_learning_keeps_no_graph(trained: Trainable) -> None:
    bounding = Bounding(trained.evaluated, CrownIbp())
    bounding.leads(bounding.inputs(torch.zeros(1, 1, 8, 8), Norm.LINF, 0.1), torch.tensor([0]))
    tensors = [
        tensor
        for step in bounding.program.steps
        for tensor in vars(step.operation or object.__new__(nn.Module)).values()
        if isinstance(tensor, torch.Tensor)
    ]
    assert tensors
    assert not any(tensor.requires_grad for tensor in tensors)
