"""FullGrad: what it adds up is the output, its maps are the package's, and every bias is found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pytorch_grad_cam import FullGrad as Reference
from pytorch_grad_cam import fullgrad_cam
from pytorch_grad_cam.utils import image
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn
from torch.nn import functional as F

from tests.explainers.test_cams import exactly_scaled, normalised
from tests.networks import Mlp, Small, seeded
from xai.api import explain, load
from xai.explainers.fullgrad import FullGrad
from xai.models.model import Model
from xai.models.redrawn import Copies, redraw, trained_layers
from xai.models.targets import Target
from xai.runtime import Runtime


class Plain(nn.Module):
    """Convolutions with and without biases, a batch norm, a skip; nothing is changed in place."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.second = nn.Conv2d(6, 6, 3, padding=1, bias=False)
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.first(x)))
        x = self.pool(torch.relu(self.second(x)) + x)
        return self.head(x.mean((2, 3)))


def fullgrad(model: Model, x: torch.Tensor, target: int, rescale: str = "layer") -> Any:
    options = {"fullgrad": {"rescale": rescale}}
    return explain(model, x, methods="fullgrad", measures="none", target=target, parameters=options)["fullgrad"]


@pytest.mark.parametrize("make", [Small, Plain, Mlp])
def test_input_and_biases_times_their_gradients_are_the_output(make: type[nn.Module]) -> None:
    shape = (3, 12, 10)
    model = load(seeded(make), shape=shape, mean=(0.4, 0.5, 0.6), std=0.25)
    x = torch.rand(shape, generator=torch.Generator().manual_seed(1))
    for target in range(3):
        values = fullgrad(model, x, target).record.values
        assert values["explained"].value == pytest.approx(values["output"].value, abs=1e-5)
        assert values["output"].value == pytest.approx(float(model(x[None])[0, target]), abs=1e-5)


def test_smooth_networks_are_not_explained_whole_and_the_number_says_so() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GELU(), nn.Conv2d(4, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    values = fullgrad(load(seeded(lambda: network), shape=(3, 12, 10)), torch.rand(3, 12, 10), 0).record.values
    assert values["explained"].value != pytest.approx(values["output"].value, abs=1e-4)


def test_a_map_that_misses_the_output_by_far_says_so() -> None:
    class Squares(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(3, 2, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(x).square().mean((2, 3))

    found = fullgrad(load(seeded(Squares), shape=(3, 12, 10)), torch.rand(3, 12, 10), 0)
    assert found.record.values["explained"].value == pytest.approx(2 * found.record.values["output"].value, rel=1e-4)
    assert "does not account for it" in found.record.notes[0]


def test_a_map_that_leaves_out_most_since_it_has_no_place_says_so() -> None:
    head = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(320, 4), nn.ReLU(), nn.Linear(4, 2))
    network = seeded(lambda: head)
    plain = fullgrad(load(network, shape=(3, 12, 10)), torch.rand(3, 12, 10), 0)
    network[-1].bias.data += 20
    found = fullgrad(load(network, shape=(3, 12, 10)), torch.rand(3, 12, 10), 0)
    assert found.record.values["explained"].value == pytest.approx(found.record.values["output"].value, rel=1e-4)
    assert "does not account for it" in found.record.notes[0]
    assert plain.record.values["without a place"].value != 0


def test_it_equals_the_grad_cam_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image, "scale_cam_image", exactly_scaled)
    monkeypatch.setattr(fullgrad_cam, "scale_cam_image", exactly_scaled)
    network = seeded(Plain)
    x = torch.rand((3, 16, 16), generator=torch.Generator().manual_seed(1))
    model = load(network, shape=(3, 16, 16), mean=(0.4, 0.5, 0.6), std=0.25)
    prepared = ((x - torch.tensor((0.4, 0.5, 0.6)).view(3, 1, 1)) / 0.25)[None]
    for target in range(4):
        theirs = Reference(network, [])(prepared.clone(), [ClassifierOutputTarget(target)])[0]
        np.testing.assert_allclose(normalised(fullgrad(model, x, target, "channel").map), normalised(theirs), atol=1e-5)


@pytest.mark.parametrize("rescale", ["layer", "none"])
def test_it_is_the_sum_of_every_parts_sizes(rescale: str) -> None:
    network = seeded(Plain)
    x = torch.rand((3, 16, 16), generator=torch.Generator().manual_seed(1))
    values = [x[None].clone().requires_grad_()]
    values.append(network.first(values[0]))
    values.append(network.norm(values[1]))
    hidden = torch.relu(values[2])
    last = network.pool(torch.relu(network.second(hidden)) + hidden)
    outputs = network.head(last.mean((2, 3)))
    norm = network.norm
    shift = norm.bias - norm.running_mean * norm.weight / torch.sqrt(norm.running_var + norm.eps)
    biases = [x[None], network.first.bias.view(1, -1, 1, 1), shift.view(1, -1, 1, 1)]
    for target in range(4):
        expected = torch.zeros(16, 16)
        for gradient, bias in zip(
            torch.autograd.grad(outputs[0, target], values, retain_graph=True), biases, strict=True
        ):
            sizes = (gradient * bias).abs()[0]
            scaled = (sizes - sizes.min()) / (sizes.max() - sizes.min()) if rescale == "layer" else sizes
            expected += scaled.sum(0).detach()
        found = fullgrad(load(network, shape=(3, 16, 16)), x, target, rescale)
        np.testing.assert_allclose(found.map, expected, atol=1e-5)
        assert found.record.parameters["parts"] == 4, "the head's bias is one, and has no place"
        assert found.record.values["without a place"].value == pytest.approx(float(network.head.bias[target].detach()))


def test_without_rescaling_the_total_is_that_of_the_parts_whatever_their_grids() -> None:
    network = nn.Sequential(nn.MaxPool2d(4), nn.Conv2d(3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network[1].bias.data = torch.tensor([3.0, -2.0])
    network[1].weight.data.zero_()
    found = fullgrad(load(network.eval(), shape=(3, 16, 16)), torch.rand(3, 16, 16), 1, "none")
    assert float(found.map.sum()) == pytest.approx(2.0, abs=1e-5)


def test_a_mean_that_is_taken_away_belongs_to_the_picture(noise: torch.Tensor) -> None:
    mean, std = torch.tensor((0.4, 0.5, 0.6)).view(1, 3, 1, 1), 0.25
    one = fullgrad(load(seeded(Small), shape=(3, 16, 16), mean=(0.4, 0.5, 0.6), std=0.25), noise, 1)
    inner = seeded(Small)
    other = load(inner, shape=(3, 16, 16), range=(-3, 3))
    np.testing.assert_allclose(one.map, fullgrad(other, ((noise[None] - mean) / std)[0], 1).map, atol=1e-5)
    assert one.record.parameters["parts"] == 6


def test_the_head_drawn_anew_is_explained_copy_by_copy(noise: torch.Tensor) -> None:
    model = load(seeded(Small), shape=(3, 16, 16))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        drawn = [redraw(model.graph, trained_layers(model.graph)[0]) for _ in range(3)]
    both = Copies(model.graph, drawn)
    together = Model(**{**vars(model), "graph": both, "forward": both})
    maps = FullGrad().explain(together, noise, [Target(copy * 4 + 2, "") for copy in range(3)], Runtime(), "")
    for found, tensors in zip(maps, drawn, strict=True):
        one = Copies(model.graph, [tensors])
        alone = Model(**{**vars(model), "graph": one, "forward": one})
        (wanted,) = FullGrad().explain(alone, noise, [Target(2, "")], Runtime(), "")
        np.testing.assert_allclose(found.arrays["map"], wanted.arrays["map"], atol=1e-5)
        assert found.values["output"].value == pytest.approx(float(one(noise[None])[0, 2]), abs=1e-5)


def test_tokens_lie_on_their_grid() -> None:
    from tests.explainers.test_cams import vision_transformer

    network = seeded(vision_transformer)
    network.conv_proj.bias.data.zero_()
    for parameter in (network.encoder.pos_embedding,):
        parameter.data.zero_()
        parameter.data[0, 1 + 6] = 5.0  # the third patch of the second row
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.LayerNorm):
            nn.init.zeros_(module.bias)
    attention = [layer.self_attention for layer in network.encoder.layers]
    for one in attention:
        nn.init.zeros_(one.in_proj_bias)
    found = fullgrad(load(network, shape=(3, 32, 32)), torch.zeros(3, 32, 32), 0)
    patches = F.avg_pool2d(torch.from_numpy(found.map)[None], 8)[0]
    assert int(patches.argmax()) == 6
