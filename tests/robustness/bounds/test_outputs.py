"""What bounds say of answers, against the closed form of linear classifiers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import xai
from xai.errors import NotApplicableError
from xai.models.model import Model
from xai.robustness.bounds import outputs
from xai.robustness.bounds.methods.base import bounders
from xai.robustness.bounds.outputs import Bounding
from xai.robustness.bounds.rounding import Arithmetic
from xai.robustness.norms import Norm

DUAL = {Norm.LINF: 1, Norm.L2: 2, Norm.L1: float("inf")}


def bounding(net: nn.Module, outputs: int, method: str = "crown", **card: str) -> Bounding:
    model = ranged(net, -100.0, 100.0, **card)
    assert len(model.classes) == outputs
    return Bounding(model, bounders.get(method)())


def ranged(net: nn.Module, low: float, high: float, **card: str) -> Model:
    return xai.load(net.eval(), shape=(1, 3, 3), mean=0.0, std=1.0, range=(low, high), **card)


def linear(outputs: int) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(9, outputs))


@pytest.mark.parametrize("norm", Norm)
def test_leads_of_a_linear_classifier_are_exact(norm: Norm) -> None:
    net, epsilon = linear(4), 0.3
    x, answers = torch.rand(3, 1, 3, 3), torch.tensor([0, 3, 2])
    subject = bounding(net, 4)
    leads = subject.leads(subject.inputs(x, norm, epsilon), answers)
    weight, scores = net[1].weight.detach().double(), net.double()(x.double()).detach()  # type: ignore[union-attr]  # a Linear
    for row, answer in enumerate(answers):
        difference = weight[answer] - weight
        wanted = scores[row, answer] - scores[row] - epsilon * torch.linalg.vector_norm(difference, DUAL[norm], dim=1)
        torch.testing.assert_close(leads[row], wanted, rtol=0, atol=1e-6)
        assert leads[row, answer] == 0


@pytest.mark.parametrize("norm", Norm)
def test_the_largest_size_of_a_linear_classifier_is_its_distance(norm: Norm) -> None:
    net = linear(3)
    x = torch.rand(4, 1, 3, 3)
    scores = net(x).detach().double()
    answers = scores.argmax(1)
    weight = net[1].weight.detach().double()  # type: ignore[union-attr]  # a Linear
    own = torch.arange(4)
    gaps = (scores[own, answers][:, None] - scores) / torch.linalg.vector_norm(
        weight[answers][:, None] - weight, DUAL[norm], dim=2
    ).clamp(min=1e-12)
    distance = gaps.scatter(1, answers[:, None], torch.inf).amin(1)
    subject = bounding(net, 3)
    low, high = subject.largest(x, answers, norm, 8.0, halvings=20)
    assert bool((low <= distance + 1e-6).all())
    assert bool((high >= distance - 1e-6).all())
    assert bool((high - low < 1e-4).all())


def test_a_size_that_is_harmless_as_a_whole_has_no_smallest_harmful_one() -> None:
    subject = bounding(linear(3), 3)
    x = torch.rand(1, 1, 3, 3)
    low, high = subject.largest(x, subject.model(x).argmax(1), Norm.LINF, 1e-6)
    assert (float(low), float(high)) == (1e-6, float("inf"))


@pytest.mark.parametrize("answer", [0, 1])
def test_one_output_is_led_by_its_sign(answer: int) -> None:
    net = linear(1)
    x = torch.rand(5, 1, 3, 3)
    subject = bounding(net, 1)
    answers = torch.full((5,), answer)
    leads = subject.leads(subject.inputs(x, Norm.LINF, 0.01), answers)
    weight = net[1].weight.detach()  # type: ignore[union-attr]  # a Linear
    wanted = (2 * answer - 1) * net(x)[:, 0].detach() - 0.01 * weight.abs().sum()
    torch.testing.assert_close(leads[:, 1 - answer].float(), wanted, rtol=0, atol=1e-5)
    assert bool((subject.certified(subject.inputs(x, Norm.LINF, 0.01), answers) == (wanted > 0)).all())


def test_a_batch_is_its_samples() -> None:
    torch.manual_seed(1)
    net = nn.Sequential(nn.Conv2d(1, 4, 2), nn.ReLU(), nn.Conv2d(4, 4, 2), nn.ReLU(), nn.Flatten(), nn.Linear(4, 3))
    x = torch.rand(6, 1, 3, 3)
    subject = bounding(net, 3)
    whole = subject.outputs(subject.inputs(x, Norm.LINF, 0.1))
    for row in range(6):
        alone = subject.outputs(subject.inputs(x[row, None], Norm.LINF, 0.1))
        torch.testing.assert_close(alone.lower[0], whole.lower[row], rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(alone.upper[0], whole.upper[row], rtol=1e-9, atol=1e-12)


def test_sizes_may_differ_by_sample() -> None:
    subject = bounding(linear(2), 2)
    x = torch.rand(1, 1, 3, 3).expand(2, -1, -1, -1)
    width = subject.outputs(subject.inputs(x, Norm.LINF, torch.tensor([0.1, 0.2], dtype=torch.float64))).width
    torch.testing.assert_close(width[1], 2 * width[0], rtol=1e-9, atol=0)


def test_a_layer_is_bounded_and_says_nothing_of_answers() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(9, 5), nn.ReLU(), nn.Linear(5, 2))
    model = bounding(net, 2).model
    subject = Bounding(model, bounders.get("crown")(), layer="1")
    inputs = subject.inputs(torch.rand(2, 1, 3, 3), Norm.LINF, 0.1)
    assert subject.outputs(inputs).lower.shape == (2, 5)
    with pytest.raises(NotApplicableError, match="which class wins"):
        subject.leads(inputs, torch.tensor([0, 1]))


def test_values_have_no_answers() -> None:
    subject = bounding(linear(2), 2, output="values")
    inputs = subject.inputs(torch.rand(1, 1, 3, 3), Norm.LINF, 0.1)
    assert subject.outputs(inputs).lower.shape == (1, 2)
    with pytest.raises(NotApplicableError, match="which class wins"):
        subject.leads(inputs, torch.tensor([0]))


def test_the_region_ends_at_the_range_of_values() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(9, 2))
    subject = Bounding(ranged(net, 0.0, 1.0), bounders.get("ibp")(), Arithmetic.REAL)
    inputs = subject.inputs(torch.tensor([0.0, 0.5, 1.0]).repeat(3).reshape(1, 1, 3, 3), Norm.LINF, 0.3)
    lower, upper = inputs.box.lower.flatten()[:3], inputs.box.upper.flatten()[:3]
    torch.testing.assert_close(lower, torch.tensor([0, 0.2, 0.7], dtype=torch.float64), rtol=0, atol=1e-12)
    torch.testing.assert_close(upper, torch.tensor([0.3, 0.8, 1], dtype=torch.float64), rtol=0, atol=1e-12)
    assert float(lower[1]) <= 0.2 - 2**-60


@pytest.mark.parametrize("arithmetic", Arithmetic)
def test_intervals_in_float32_hold_those_in_float64(arithmetic: Arithmetic, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(2)
    norm = nn.BatchNorm2d(6)
    norm.weight.data.uniform_(-1, 1)
    net = nn.Sequential(
        nn.Conv2d(1, 6, 2), norm, nn.ReLU(), nn.Conv2d(6, 4, 2), nn.ReLU(), nn.Flatten(), nn.Linear(4, 3)
    )
    subject = Bounding(ranged(net, 0.0, 1.0), bounders.get("ibp")(), arithmetic)
    inputs = subject.inputs(torch.rand(20, 1, 3, 3), Norm.LINF, 0.1)
    double = subject.outputs(inputs)
    monkeypatch.setattr(outputs, "LARGE", 0)
    single = subject.outputs(inputs)
    assert single.lower.dtype == torch.float64
    if arithmetic is Arithmetic.REAL:
        assert bool((single.lower < double.lower).all())
        assert bool((single.upper > double.upper).all())
    torch.testing.assert_close(single.lower, double.lower, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(single.upper, double.upper, rtol=1e-3, atol=1e-4)
