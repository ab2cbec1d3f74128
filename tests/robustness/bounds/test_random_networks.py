"""Networks composed at random: no point of a region lies outside any method's bounds."""

from __future__ import annotations

from collections.abc import Callable

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from tests.robustness.bounds.nets import assert_sound, ball_of, box_of, lowered
from xai.robustness.norms import Norm

SHAPE = (3, 5, 5)
EPSILONS = (0.0, 1e-7, 1e-3, 0.05, 0.5, 5.0)
ONE: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "relu": F.relu,
    "leaky": lambda x: F.leaky_relu(x, 0.2),
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "gelu": F.gelu,
    "silu": F.silu,
    "hardswish": F.hardswish,
    "clamp": lambda x: x.clamp(-0.3, 0.5),
    "abs": torch.abs,
    "max_pool": lambda x: F.max_pool2d(x, 3, 1, 1),
    "avg_pool": lambda x: F.avg_pool2d(x, 3, 1, 1),
    "softmax": lambda x: x.softmax(1),
    "centred": lambda x: x - x.mean((2, 3), keepdim=True),
    "shrunk": lambda x: x / (1 + x.square()),
    "normalised": lambda x: F.layer_norm(x, (5,)),
}
TWO: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "sum": torch.add,
    "difference": torch.sub,
    "product": lambda x, y: x * y,
    "matrix product": lambda x, y: x @ y.mT / 5,
    "maximum": torch.maximum,
    "gate": lambda x, y: x * y.sigmoid(),
    "mixed": lambda x, y: torch.cat([x, y], 1)[:, 1:4],
}
layers = st.one_of(
    st.tuples(st.sampled_from(["conv", "norm"]), st.integers(0, 9), st.sampled_from([0.3, 1.0, 4.0])),
    st.tuples(st.sampled_from(sorted(ONE)), st.integers(0, 9)),
    st.tuples(st.sampled_from(sorted(TWO)), st.integers(0, 9), st.integers(0, 9)),
)


class Composed(nn.Module):
    """Layers, each of values that were there before; the last few make the outputs.

    Args:
        recipe: for each layer its kind, how many values ago its inputs were made, and how large its weights are.
    """

    def __init__(self, recipe: list[tuple]) -> None:
        super().__init__()
        self.recipe = recipe
        self.weighted = nn.ModuleDict()
        for index, (kind, *options) in enumerate(recipe):
            if kind in ("conv", "norm"):
                layer = nn.Conv2d(3, 3, 3, padding=1) if kind == "conv" else nn.BatchNorm2d(3)
                layer.weight.data.mul_(options[1])
                self.weighted[str(index)] = layer
        self.head = nn.Linear(75, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        values = [x]
        for index, (kind, ago, *other) in enumerate(self.recipe):
            first = values[-1 - ago % len(values)]
            if kind in TWO:
                values.append(TWO[kind](first, values[-1 - other[0] % len(values)]))
            else:
                values.append(ONE[kind](first) if kind in ONE else self.weighted[str(index)](first))
        return self.head(sum(values[-2:]).flatten(1))


@settings(max_examples=20, deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    recipe=st.lists(layers, min_size=2, max_size=8),
    epsilons=st.tuples(st.sampled_from(EPSILONS), st.sampled_from(EPSILONS)),
    seed=st.integers(0, 2**20),
)
def test_no_point_lies_outside_the_bounds_of_a_random_network(recipe, epsilons, seed) -> None:
    torch.manual_seed(seed)
    net = Composed(recipe).eval()
    _, steps = lowered(net, SHAPE)
    x = torch.rand(2, *SHAPE)
    assert_sound(net, steps, box_of(x, *epsilons))
    norm = Norm.L1 if seed % 2 else Norm.L2
    assert_sound(net, steps, ball_of(x, 10 * epsilons[0], norm), methods=["crown-ibp"])
