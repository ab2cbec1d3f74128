"""What a forward pass costs, against torch's own counter."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tests.networks import Small, seeded
from xai.api import load
from xai.models import cache
from xai.models.cost import multiply_adds
from xai.models.torchvision_import import torchvision_models


class Mixed(nn.Module):
    """Grouped, strided, dilated and transposed convolutions, and products written as such."""

    def __init__(self) -> None:
        super().__init__()
        self.grouped = nn.Conv2d(4, 8, 3, groups=2, stride=2, padding=1)
        self.dilated = nn.Conv2d(8, 8, 3, dilation=2, padding=2)
        self.transposed = nn.ConvTranspose2d(8, 6, 3, stride=2, groups=2)
        self.matrix = nn.Parameter(torch.randn(5, 6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.transposed(self.dilated(self.grouped(x))).mean((2, 3))
        y = torch.einsum("bk,ck->bc", y, self.matrix) + y @ self.matrix.T
        return torch.addmm(self.matrix[:, 0], y, self.matrix[:, :5])


class Recurrent(nn.Module):
    """Recurrent layers of every kind, over sequences (steps, features)."""

    def __init__(self) -> None:
        super().__init__()
        self.both = nn.LSTM(10, 8, 2, batch_first=True, bidirectional=True)
        self.projected = nn.LSTM(16, 8, batch_first=True, proj_size=4)
        self.gated = nn.GRU(4, 5, batch_first=True)
        self.plain = nn.RNN(5, 5, batch_first=True)
        self.head = nn.Linear(5, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in (self.both, self.projected, self.gated, self.plain):
            x, _ = layer(x)
        return self.head(x[:, -1])


class Attending(nn.Module):
    """Attention, and a table that is computed from parameters alone: once, however many inputs there are."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.table, self.places = nn.Linear(3, 16), nn.Parameter(torch.randn(5, 3))
        self.head = nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.layer(x + self.table(self.places)).mean(1))


def published(name: str) -> Callable[[], nn.Module]:
    return lambda: getattr(torchvision_models(), name)(weights=None)


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (Mixed, (4, 11, 9)),
        (Recurrent, (7, 10)),
        (Attending, (5, 16)),
        (published("resnet18"), (3, 64, 64)),
        (published("mobilenet_v3_small"), (3, 64, 64)),
        (published("vit_b_16"), (3, 224, 224)),
    ],
    ids=["mixed", "recurrent", "attending", "resnet18", "mobilenet_v3_small", "vit_b_16"],
)
@pytest.mark.filterwarnings("ignore:.*oneDNN.*:UserWarning")
def test_multiply_adds_are_half_of_what_torchs_counter_counts(
    make: Callable[[], nn.Module], shape: tuple[int, ...]
) -> None:
    network = make().eval()
    # the fused kernels for attention and recurrent layers are not counted by torch: it is made to take the plain ones
    plain = sdpa_kernel(SDPBackend.MATH), torch.backends.mkldnn.flags(enabled=False)
    with FlopCounterMode(display=False) as counter, plain[0], plain[1]:
        network(torch.rand(1, *shape))
    model = load(network, shape=shape)
    assert 2 * sum(multiply_adds(model.graph).values()) == counter.get_total_flops()


def test_a_graph_out_of_the_cache_costs_what_it_cost_when_it_was_traced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(cache.FOLDER, str(tmp_path / "cache"))
    torch.jit.save(torch.jit.script(seeded(Small)), tmp_path / "net.pt")
    first, second = (multiply_adds(load(tmp_path / "net.pt", shape=(3, 16, 16)).graph) for _ in range(2))
    assert list((tmp_path / "cache").iterdir())
    assert second == first


def test_each_use_of_a_layer_counts() -> None:
    model = load(seeded(Small), shape=(3, 16, 16))
    counted = multiply_adds(model.graph)
    layers = model.graph.layers
    once = 8 * 16 * 16 * 8 * 9
    assert [counted[layers[name].node] for name in ("again", "again@1")] == [once, once]
    assert layers["act"].node not in counted


def test_letters_of_one_operand_alone_are_summed_before_the_product() -> None:
    class Einsum(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.einsum("bij,bkl,bim->bk", x, x, x)

    model = load(Einsum(), shape=(4, 6))
    with FlopCounterMode(display=False) as counter:
        Einsum()(torch.rand(1, 4, 6))
    assert 2 * sum(multiply_adds(model.graph).values()) == counter.get_total_flops()
