"""Grad-CAM against the grad-cam package, a plain second version, and its pitfalls."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pytorch_grad_cam import GradCAM as Reference
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn

from tests.architectures import MEAN, SIDE, STD, Loader, network
from tests.networks import Mlp, Small, seeded
from xai.api import explain, load
from xai.errors import UsageError
from xai.models.architectures import build
from xai.models.model import Model
from xai.models.torchvision_import import torchvision_models

ARCHITECTURES = {
    "resnet18": "layer4",
    "mobilenet_v3_small": "features",
    "densenet121": "features",
    "convnext_tiny": "features",
    "vit_b_16": "encoder.layers.encoder_layer_11.ln_1",
    "swin_t": "permute",
}


def normalised(raw: np.ndarray) -> np.ndarray:
    return (raw - raw.min()) / (raw.max() - raw.min())


def tokens_on_grid(value: torch.Tensor) -> torch.Tensor:
    side = int((value.shape[1] - 1) ** 0.5)
    return value[:, 1:].reshape(len(value), side, side, -1).permute(0, 3, 1, 2)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_it_equals_the_grad_cam_package(name: str, loaded: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    model, reference_network = loaded(name), network(name)
    x = torch.rand((3, SIDE, SIDE), generator=torch.Generator().manual_seed(3))
    found = _non_blank(model, x)
    layer, target = found.record.parameters["layer"], found.record.target.index
    assert layer == ARCHITECTURES[name]

    inputs = (x - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    # The package keeps an alias of the activation; densenet's in-place ReLU then overwrites it, and its map is wrong.
    relu = nn.functional.relu
    monkeypatch.setattr(nn.functional, "relu", lambda x, inplace=False: relu(x))
    reshape = tokens_on_grid if name.startswith("vit") else None
    reference = Reference(reference_network, [reference_network.get_submodule(str(layer))], reshape_transform=reshape)
    with reference:
        theirs = reference(inputs[None], [ClassifierOutputTarget(target)])[0]
    assert found.map.max() > found.map.min()
    np.testing.assert_allclose(normalised(found.map), normalised(theirs), atol=1e-4)


def _non_blank(model: Model, x: torch.Tensor):
    """Return Grad-CAM for the first class whose map is not blank: random heads give blank maps for some."""
    for target in range(20):
        found = explain(model, x, methods=["gradcam"], target=target)["gradcam"]
        if found.record.values["blank"].value is False:
            return found
    raise AssertionError("every map was blank")


def test_a_head_of_zeros_does_not_hide_the_layer() -> None:
    model = load(build("timm:vit_tiny_patch16_224(img_size=64, depth=2)", seed=1).network, shape=(3, 64, 64))
    assert model.spatial_layer.name == "blocks.1.norm1"
    network = build("torchvision:vit_b_16(image_size=32)", seed=1).network
    assert not network.heads.head.weight.any()
    model = load(network, shape=(3, 32, 32))
    assert model.spatial_layer.name == ARCHITECTURES["vit_b_16"]
    found = explain(model, torch.rand(3, 32, 32), methods=["gradcam"])["gradcam"]
    assert found.record.values["blank"].value is True


def test_swin_is_put_back_on_its_grid() -> None:
    model = load(build("torchvision:swin_t", seed=1).network, shape=(3, 224, 224))
    layer = model.spatial_layer
    assert layer.layout is not None
    assert layer.layout.grid == (7, 7)
    assert layer.name == "permute"


def plain_grad_cam(network: nn.Module, x: torch.Tensor, target: int) -> np.ndarray:
    """Return the map of `Small` by hand: no graph, no hooks, in float64."""
    network = network.double()
    h = torch.relu(network.norm(network.stem(x)))
    h = torch.relu(network.again(h)) + h
    last = torch.relu(network.again(h)).detach().requires_grad_()
    network.head(network.pool(last).flatten(1))[0, target].backward()
    weights = last.grad.mean((2, 3), keepdim=True)
    return torch.relu((weights * last).sum(1))[0].detach().numpy()


def test_it_equals_a_plain_second_version_through_reused_and_in_place_modules(
    small: Model, noise: torch.Tensor
) -> None:
    mean = torch.tensor((0.4, 0.5, 0.6)).view(1, 3, 1, 1)
    for target in range(4):
        expected = plain_grad_cam(seeded(Small), ((noise[None] - mean) / 0.25).double(), target)
        found = explain(small, noise, methods=["gradcam"], target=target)["gradcam"]
        np.testing.assert_allclose(found.map, expected, atol=1e-5)


def test_a_module_used_twice_has_two_layers(small: Model, noise: torch.Tensor) -> None:
    assert {"again", "again@1", "act", "act@1", "act@2"} <= set(small.graph.layers)
    maps = [explain(small, noise, methods=["gradcam"], target=1, layer=name)["gradcam"] for name in ("act", "act@2")]
    assert maps[0].record.parameters["layer"] == "act"
    assert not np.allclose(maps[0].map, maps[1].map)


def test_a_misspelt_layer_names_its_neighbours(small: Model, noise: torch.Tensor) -> None:
    with pytest.raises(UsageError, match="no layer 'stemm'; did you mean 'stem'"):
        explain(small, noise, layer="stemm")


def test_a_network_without_rows_and_columns_is_skipped_with_the_reason(noise: torch.Tensor) -> None:
    model = load(Mlp(), shape=(3, 12, 10))
    found = explain(model, torch.rand(3, 12, 10), methods=["gradcam", "occlusion"])
    assert found["gradcam"].record.status == "skipped"
    assert "rows and columns" in found["gradcam"].record.reason
    assert found["occlusion"].record.status == "ok"


def test_a_layer_that_lost_its_rows_is_skipped_with_the_reason(small: Model, noise: torch.Tensor) -> None:
    found = explain(small, noise, methods=["gradcam"], layer="head")["gradcam"]
    assert found.record.status == "skipped"
    assert "'head'" in found.record.reason


class Against(nn.Module):
    """Every feature speaks against the only class."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 1, bias=False)
        self.conv.weight.data.fill_(1.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return -self.conv(x).mean((2, 3))


def test_a_blank_map_is_said() -> None:
    model = load(Against(), shape=(1, 6, 6))
    found = explain(model, torch.rand(1, 6, 6), methods=["gradcam"])["gradcam"]
    assert found.record.status == "ok"
    assert found.record.values["blank"].value is True
    assert "blank" in found.record.notes[0]
    assert not found.map.any()


def test_a_saturated_probability_does_not_blank_the_map() -> None:
    network = seeded(Small)
    network.head.weight.data *= 1e4
    model = load(network, shape=(3, 16, 16))
    x = torch.rand((3, 16, 16), generator=torch.Generator().manual_seed(7))
    run = explain(model, x, methods=["gradcam"])
    assert run.record.inputs[0].predictions[0].probability == pytest.approx(1.0)
    reference = explain(
        load(seeded(Small), shape=(3, 16, 16)), x, methods=["gradcam"], target=run["gradcam"].record.target.index
    )
    np.testing.assert_allclose(normalised(run["gradcam"].map), normalised(reference["gradcam"].map), atol=1e-4)


def test_the_live_module_is_left_as_it_was(noise: torch.Tensor) -> None:
    network = seeded(Small).train()
    network.norm.eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    state = torch.get_rng_state()
    explain(load(network, shape=(3, 16, 16)), noise)
    assert torch.equal(state, torch.get_rng_state())
    assert network.training
    assert network.stem.training
    assert not network.norm.training
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert not any(module._forward_hooks or module._backward_hooks for module in network.modules())


def test_training_on_afterwards_changes_nothing_in_the_model(noise: torch.Tensor) -> None:
    network = seeded(Small)
    model = load(network, shape=(3, 16, 16))
    before = model(noise[None])
    network.stem.weight.data.zero_()
    assert torch.equal(model(noise[None]), before)


def test_torchvision_is_cured_once() -> None:
    assert torchvision_models() is torchvision_models()
