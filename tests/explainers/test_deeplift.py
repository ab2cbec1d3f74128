"""DeepLIFT against captum, and summation to delta on every operator that there is a rule for."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from captum.attr import DeepLift as Reference
from torch import nn
from torch.nn import functional as F

from tests.architectures import ARCHITECTURES, SIDE, Loader
from tests.networks import Linear, Smooth, cnn, seeded
from xai.api import explain, load
from xai.errors import UsageError
from xai.models.model import Model
from xai.reports.run import Found

Function = Callable[[torch.Tensor], torch.Tensor]
WEIGHTS = torch.randn((3, 64), generator=torch.Generator().manual_seed(2))
MASK = torch.rand((8, 8), generator=torch.Generator().manual_seed(3)) > 0.3
MASK |= torch.eye(8, dtype=torch.bool)
FACTOR = torch.randn((8, 8), generator=torch.Generator().manual_seed(4))


def deeplift(model: Model, x: torch.Tensor, target: int = 1, **parameters: object) -> Found:
    given = {"deeplift": parameters}
    return explain(model, x, methods="deeplift", target=target, measures="none", parameters=given)["deeplift"]


class Uneven(nn.Module):
    """Makes places differ: among equal numbers of a flat baseline captum's max-pooling takes any."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.linspace(0.8, 1.2, 256).view(16, 16) + torch.linspace(0.1, 0, 256).view(16, 16).T


def averaging() -> nn.Module:
    """`cnn` without max-pooling: captum's maps through it, beside a rectifier, were not found to add up as ours do."""
    layers = list(cnn())
    layers[3] = nn.AvgPool2d(2)
    return nn.Sequential(*layers)


def pooling() -> nn.Module:
    return nn.Sequential(Uneven(), nn.Conv2d(3, 6, 3), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(294, 4))


@pytest.mark.parametrize("target", range(4))
@pytest.mark.parametrize("fill", [0.0, 0.4])
@pytest.mark.parametrize("make", [averaging, pooling])
def test_it_equals_captum(noise: torch.Tensor, target: int, fill: float, make: Callable[[], nn.Module]) -> None:
    network = seeded(make)
    ours = deeplift(load(network, shape=(3, 16, 16)), noise, target, baseline=fill)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # captum tells of its hooks
        theirs = Reference(network).attribute(noise[None], torch.full((1, 3, 16, 16), fill), target=target)
    theirs = theirs[0].sum(0).detach()
    np.testing.assert_allclose(ours.map, theirs, atol=1e-5 * float(theirs.abs().max()))


def test_of_a_linear_model_it_is_what_each_pixel_adds_to_the_baseline(linear: Model) -> None:
    x = torch.rand((3, 12, 10), generator=torch.Generator().manual_seed(1))
    expected = ((x - 0.25) * Linear().weight[2].detach()).sum(0)
    np.testing.assert_allclose(deeplift(linear, x, 2, baseline=0.25).map, expected, atol=1e-5)


def test_one_rectifier_gives_the_rescale_rule() -> None:
    class One(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 3 * torch.relu(x.flatten(1) - 0.5)

    x = torch.tensor([[[0.9, 0.3]]])
    for index, multiplier in enumerate((3 * 0.4 / 0.8, 0.0)):  # the slope over the whole way, not the one at its end
        found = deeplift(load(One(), shape=(1, 1, 2)), x, index, baseline=0.1)
        assert found.map[0, index] == pytest.approx(multiplier * (float(x[0, 0, index]) - 0.1), abs=1e-6)
        assert found.map[0, 1 - index] == 0


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_attributions_add_up_on_every_architecture(architecture: str, loaded: Loader) -> None:
    x = torch.rand((3, SIDE, SIDE), generator=torch.Generator().manual_seed(3))
    model = loaded(architecture)
    found = deeplift(model, x, 5, baseline="black")
    with torch.no_grad():
        after, before = model(torch.stack([x, torch.zeros_like(x)]))[:, 5].double().tolist()
    assert found.record.values["output"].value == pytest.approx(after, rel=1e-4)
    assert found.record.values["output of the baseline"].value == pytest.approx(before, rel=1e-4)
    assert found.map.sum(dtype=np.float64) == pytest.approx(after - before, rel=1e-3)
    assert found.record.values["completeness error"].value < 1e-3


def attention(x: torch.Tensor, **options: object) -> torch.Tensor:
    parts = (x * 3, x.mT * 2 - 1, x.square())
    return F.scaled_dot_product_attention(*(part.reshape(-1, 2, 4, 8) for part in parts), **options)


class Last(nn.Module):
    """Weighs what a function of (batch, 8, 8) gives."""

    def __init__(self, function: Function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made = self.function((2 * x - 0.7)[:, 0]).flatten(1)
        return made @ WEIGHTS[:, torch.arange(made.shape[1]) % 64].T


FUNCTIONS: dict[str, Function] = {
    "relu": torch.relu,
    "leaky relu": lambda x: F.leaky_relu(x, 0.3),
    "gelu": F.gelu,
    "gelu in steps": lambda x: x * 0.5 * (1 + torch.erf(x / 2**0.5)),
    "silu": F.silu,
    "silu in steps": lambda x: x * torch.sigmoid(x),
    "hardswish": F.hardswish,
    "hardswish in steps": lambda x: x * torch.clamp(x + 3, 0, 6) / 6,
    "clamp": lambda x: x.clamp(-0.2, 0.5),
    "gate": lambda x: F.glu(x, 1),
    "squeeze and excite": lambda x: x * torch.sigmoid(3 * x.mean(2, keepdim=True)),
    "product": lambda x: x * x.mT,
    "square": lambda x: x * x,
    "cube": lambda x: x**3,
    "quotient": lambda x: x / (1 + x.mT.square()),
    "reciprocal": lambda x: 2 / (1.5 + x),
    "unit length": lambda x: F.normalize(x, dim=-1),
    "deviation": lambda x: x.std(-1),
    "variance": lambda x: x.var((1, 2), correction=0, keepdim=True),
    "softmax": lambda x: torch.softmax(4 * x, -1),
    "log softmax": lambda x: torch.log_softmax(4 * x, 1),
    "logarithm of a sum": lambda x: torch.logsumexp(5 * x, 2),
    "masked softmax": lambda x: torch.softmax((9 * x).masked_fill(~MASK, -torch.inf), -1),
    "layer norm": lambda x: F.layer_norm(x, (8, 8), FACTOR, FACTOR),
    "group norm": lambda x: F.group_norm(x, 2, FACTOR[0], FACTOR[1]),
    "instance norm": lambda x: F.instance_norm(x),
    "rms norm": lambda x: F.rms_norm(x, (8,), FACTOR[0]),
    "matrix product": lambda x: x @ x.mT,
    "einsum": lambda x: torch.einsum("bij,bkj->bik", x, x.exp()),
    "attention": attention,
    "causal attention": lambda x: attention(x, is_causal=True),
    "masked attention": lambda x: attention(x, attn_mask=MASK[:4, :4]),
    "biased attention": lambda x: attention(x, attn_mask=FACTOR[:4, :4], scale=2.0),
    "max-pooling": lambda x: F.max_pool2d(x[:, None], 3, 2, 1),
    "max-pooling in one axis": lambda x: F.max_pool1d(x, 2),
    "adaptive max-pooling": lambda x: F.adaptive_max_pool2d(x[:, None], (3, 5)),
    "largest": lambda x: x.amax((1, 2), keepdim=True),
    "smallest": lambda x: x.amin(1, keepdim=True),
    "largest with its place": lambda x: x.max(dim=2).values,
    "larger of two": lambda x: torch.maximum(x, x.mT),
    "smaller than a constant": lambda x: torch.minimum(x, FACTOR),
    "chosen by a constant": lambda x: torch.where(MASK, x, x.exp()),
    "average pooling": lambda x: F.avg_pool2d(x[:, None], 2),
    "interpolation": lambda x: F.interpolate(x[:, None], scale_factor=2, mode="bilinear"),
    "moved": lambda x: torch.cat([x.flip(1).roll(2, 2), x.mT[:, ::2]], 1).cumsum(1),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_attributions_add_up_through_every_operator(name: str) -> None:
    x = torch.rand((1, 8, 8), generator=torch.Generator().manual_seed(1))
    network = Last(FUNCTIONS[name])
    for target in range(3):
        found = deeplift(load(network, shape=(1, 8, 8)), x, target, baseline=0.3)
        after, before = network(torch.stack([x, torch.full_like(x, 0.3)]))[:, target].tolist()
        assert found.record.values["output"].value == pytest.approx(after, rel=1e-4, abs=1e-5)
        assert found.map.sum(dtype=np.float64) == pytest.approx(after - before, rel=1e-4, abs=2e-5)
        assert np.abs(found.map).max() < 50


@pytest.mark.parametrize("name", ["gelu", "silu", "hardswish"])
def test_an_activation_in_steps_is_what_it_is_as_one(name: str) -> None:
    x = torch.rand((1, 8, 8), generator=torch.Generator().manual_seed(1))
    maps = [deeplift(load(Last(FUNCTIONS[n]), shape=(1, 8, 8)), x).map for n in (name, f"{name} in steps")]
    np.testing.assert_allclose(maps[0], maps[1], atol=1e-5)


def test_max_pooling_hands_on_no_more_than_it_got() -> None:
    x = torch.tensor([[[0.5, 0.4999999], [0.1, 0.2]]]).repeat(1, 4, 4)
    model = load(Last(FUNCTIONS["max-pooling"]), shape=(1, 8, 8))
    found = deeplift(model, x, 0, baseline=0.5)
    assert np.abs(found.map).max() < 1e-5


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda x: x.cumprod(1), "cumprod"),
        (lambda x: torch.sort(x, 1).values, "sort"),
        (lambda x: torch.where(x > 0.2, x, -x), "where whose choice depends on the input"),
        (lambda x: x * (x.mT > 0.2), "mul whose choice depends on the input"),
    ],
)
def test_an_operator_without_a_rule_is_named(function: Function, said: str) -> None:
    x = torch.rand((1, 8, 8), generator=torch.Generator().manual_seed(1))
    record = deeplift(load(Last(function), shape=(1, 8, 8)), x).record
    assert record.status == "skipped"
    assert record.reason == f"there is no rule for the operator {said}"


def test_a_picture_of_the_baselines_colour_is_blank_and_has_no_error() -> None:
    found = deeplift(load(seeded(Smooth), shape=(3, 16, 16)), torch.full((3, 16, 16), 0.5), baseline="grey")
    assert not found.map.any()
    assert "the same but for rounding" in found.record.values["completeness error"].reason


def test_a_baseline_out_of_range_is_refused(small: Model, noise: torch.Tensor) -> None:
    with pytest.raises(UsageError, match=r"baseline is 3; expected a value in"):
        deeplift(small, noise, baseline=3.0)
