"""The class activation maps against the grad-cam package where it is right, and their formulas where it is not."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_grad_cam
import torch
from pytorch_grad_cam import base_cam
from pytorch_grad_cam import eigen_cam as eigen
from pytorch_grad_cam.ablation_layer import AblationLayer
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget, FinerWeightedTarget
from pytorch_grad_cam.utils.svd_on_activations import get_2d_projection_with_sign_correction
from torch import nn
from torch.nn import functional as F

from tests.networks import Small, seeded
from xai.api import explain, load
from xai.errors import UsageError
from xai.explainers.ablationcam import AblationCAM
from xai.explainers.base import GradientCAM, LayerAttributor, explainers
from xai.explainers.eigencam import eigen_cam
from xai.explainers.finercam import compared
from xai.explainers.gradcampp import grad_cam_pp
from xai.explainers.hirescam import hires_cam
from xai.explainers.layercam import layer_cam
from xai.models.model import Model
from xai.models.redrawn import Copies, redraw, trained_layers
from xai.models.tail import Tail
from xai.models.targets import Target
from xai.runtime import Runtime

CAMS = [name for name, cls in explainers.all().items() if issubclass(cls, LayerAttributor)]
VIT_LAYER = "encoder.layers.encoder_layer_1.ln_1"
REFERENCES = {
    "gradcam": pytorch_grad_cam.GradCAM,
    "hirescam": pytorch_grad_cam.HiResCAM,
    "layercam": pytorch_grad_cam.LayerCAM,
    "gradcampp": pytorch_grad_cam.GradCAMPlusPlus,
    "eigencam": pytorch_grad_cam.EigenCAM,
    "scorecam": pytorch_grad_cam.ScoreCAM,
    "finercam": pytorch_grad_cam.GradCAM,
    "ablationcam": pytorch_grad_cam.AblationCAM,
}


class Plain(nn.Module):
    """A CNN whose activations are not changed in place, as the package needs it; a skip passes its last layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU())
        self.last = nn.Sequential(nn.Conv2d(6, 10, 3, stride=2, padding=1), nn.ReLU())
        self.skip = nn.Conv2d(6, 10, 1, stride=2)
        self.head = nn.Linear(10, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        early = self.first(x)
        gate = self.skip(early).sigmoid()
        return self.head((self.last(early) * gate).mean((2, 3)))


class Pooled(nn.Module):
    """A CNN that ends in pooling and one linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.ReLU())
        self.head = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x).mean((2, 3)))


def vision_transformer() -> nn.Module:
    from torchvision.models.vision_transformer import VisionTransformer

    network = VisionTransformer(32, 8, 2, 2, 24, 48, num_classes=5)
    nn.init.normal_(network.heads.head.weight)
    return network


def tokens_on_grid(value: torch.Tensor) -> torch.Tensor:
    return value[:, 1:].reshape(len(value), 4, 4, -1).permute(0, 3, 1, 2)


NETWORKS: dict[str, tuple[Callable[[], nn.Module], str, Any]] = {
    "cnn": (Plain, "last", None),
    "vit": (vision_transformer, VIT_LAYER, tokens_on_grid),
}


def normalised(raw: np.ndarray) -> np.ndarray:
    assert np.ptp(raw) > 0, "two blank maps would be equal, too"
    return (raw - raw.min()) / (raw.max() - raw.min())


def exactly_scaled(cams: np.ndarray, size: tuple[int, int] | None = None) -> np.ndarray:
    """Stand for the package's normalisation, which adds 1e-7 to the highest value."""
    import cv2

    one = [normalised(cam) if np.ptp(cam) else 0 * cam for cam in cams]
    return np.float32([cam if size is None else cv2.resize(np.float32(cam), size) for cam in one])


def of_package(name: str, network: nn.Module, layer: str, reshape: Any, x: torch.Tensor, target: int) -> np.ndarray:
    reference = REFERENCES[name](network, [network.get_submodule(layer)], reshape_transform=reshape)
    wanted: Any = ClassifierOutputTarget(target)
    if name == "finercam":
        outputs = network(x[None])[0]
        nearest = (outputs - outputs[target]).abs().argsort().tolist()[1:4]
        wanted = FinerWeightedTarget(target, nearest, 1)
    return reference(x[None].clone(), [wanted])[0]


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("name", REFERENCES)
def test_it_equals_the_grad_cam_package_where_that_is_right(
    name: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if (name, kind) == ("ablationcam", "vit"):
        pytest.skip("the package takes a channel of a transformer to ten million below its lowest value")
    monkeypatch.setattr(base_cam, "scale_cam_image", exactly_scaled)
    corners = lambda size: lambda x: F.interpolate(x, size=size, mode="bilinear", align_corners=False)  # noqa: E731
    monkeypatch.setattr(nn, "UpsamplingBilinear2d", corners)  # the package's Score-CAM aligns corners
    monkeypatch.setattr(eigen, "get_2d_projection", get_2d_projection_with_sign_correction)  # else it may be reversed
    make, layer, reshape = NETWORKS[kind]
    network = seeded(make)
    if name == "ablationcam":
        network.head.bias.data += 10  # the package divides by the output, whatever its sign
    if name == "gradcampp":  # the package adds a constant to a denominator, which large gradients outgrow
        head = network.head if kind == "cnn" else network.heads.head
        head.weight.data *= 1e6
    x = torch.rand((3, 32, 32), generator=torch.Generator().manual_seed(3))
    model = load(network, shape=(3, 32, 32), classes=tuple("abcde"))
    blank = 0
    for target in range(5):
        found = explain(model, x, methods=name, measures="none", target=target, layer=layer)[name]
        if found.record.values["blank"].value:
            blank += 1
            continue
        theirs = of_package(name, network, layer, reshape, x, target)
        np.testing.assert_allclose(normalised(found.map), normalised(theirs), atol=1e-5)
    assert blank < 4


def test_without_a_name_both_look_at_the_same_layer() -> None:
    for make, layer, _ in NETWORKS.values():
        model = load(seeded(make), shape=(3, 32, 32))
        for name in CAMS:
            found = explain(model, torch.rand(3, 32, 32), methods=name, measures="none")[name]
            assert found.record.parameters["layer"] == layer
            assert found.record.parameters["grid"] == ("16 x 16" if make is Plain else "4 x 4")


def rng(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape)))


def test_grad_cam_pp_is_the_papers_formula_whatever_the_gradients_scale() -> None:
    activation, gradient = rng(1, 7, 4, 5).relu(), rng(1, 7, 4, 5)
    a, g = activation.double().numpy(), gradient.double().numpy()
    for scale in (1e-6, 1e-3, 1.0, 1e3):
        scaled = scale * g
        share = scaled**2 / (2 * scaled**2 + a.sum((2, 3), keepdims=True) * scaled**3)
        expected = ((share * np.maximum(scaled, 0)).sum((2, 3), keepdims=True) * a).sum(1)
        np.testing.assert_allclose(grad_cam_pp(activation, scale * gradient), expected, rtol=1e-4)


def test_grad_cam_pp_of_no_gradient_is_blank() -> None:
    assert not grad_cam_pp(rng(1, 7, 4, 5).relu(), torch.zeros(1, 7, 4, 5)).any()


def test_hires_cam_adds_up_to_the_output_where_one_linear_layer_follows() -> None:
    network = seeded(Pooled)
    model = load(network, shape=(3, 12, 10))
    layer = model.layer("features")
    tap = model.tap(torch.rand(1, 3, 12, 10), layer)
    for index in range(4):
        (gradient,) = torch.autograd.grad(tap.outputs[0, index], tap.value, retain_graph=True)
        total = hires_cam(tap.value.detach(), gradient).sum()
        assert float(total) == pytest.approx(
            float((tap.outputs[0, index] - network.head.bias[index]).detach()), abs=1e-5
        )


def test_layer_cam_leaves_out_what_speaks_against_place_by_place() -> None:
    activation, gradient = rng(1, 7, 4, 5), rng(1, 7, 4, 5)
    expected = (np.maximum(gradient.numpy(), 0) * activation.numpy()).sum(1)
    np.testing.assert_allclose(layer_cam(activation, gradient), expected, rtol=1e-5)


def test_eigen_cam_has_one_sign_whichever_the_decomposition_gives() -> None:
    activation = torch.zeros(1, 3, 5, 5)
    activation[0, :, 2, 3] = torch.tensor([4.0, 2.0, 1.0])
    for sign in (1, -1):
        found = eigen_cam(sign * activation)[0]
        assert divmod(int(found.argmax()), 5) == (2, 3)
    assert not eigen_cam(torch.full((1, 3, 5, 5), 2.0)).any()


def test_eigen_cam_is_one_map_for_all_targets_and_says_so(small: Model, noise: torch.Tensor) -> None:
    run = explain(small, noise, methods="eigencam", measures="deletion", top=3)
    (finding,) = run.findings
    assert finding.target is None
    assert finding.id == "eigencam/image"
    best = run.record.inputs[0].predictions[0].name
    assert finding.notes[-1].endswith(f"what judges it asks about the output for {best}.")
    from xai.reports.html.page import render

    assert "The strongest response lies at row" in render(run).html


def plain_score_cam(model: Model, x: torch.Tensor, channels: np.ndarray, target: int, mean: float) -> np.ndarray:
    """Return the map (rows, columns) by a loop over channels (n, rows, columns)."""
    scores = []
    for channel in channels:
        fine = F.interpolate(torch.from_numpy(channel)[None, None], size=x.shape[-2:], mode="bilinear")[0, 0]
        mask = (fine - fine.min()) / (fine.max() - fine.min())
        scores.append(float(model((mean + (x - mean) * mask)[None])[0, target]))
    weights = np.exp(np.array(scores) - max(scores))
    return np.maximum((weights / weights.sum())[:, None, None] * channels, 0).sum(0)


def test_score_cam_is_the_papers_formula_in_the_models_own_units() -> None:
    network = seeded(Pooled)
    network.features[2].bias.data[3] = -100  # a channel that is never active
    model = load(network, shape=(3, 12, 10), mean=0.4, std=0.2)
    x = torch.rand((3, 12, 10), generator=torch.Generator().manual_seed(2))
    channels = model.activation(x[None], model.layer("features"))[0].detach().numpy()
    assert not channels[3].any()
    expected = plain_score_cam(model, x, np.delete(channels, 3, axis=0), 1, 0.4)
    found = explain(model, x, methods="scorecam", measures="none", target=1, layer="features")["scorecam"]
    fine = F.interpolate(torch.from_numpy(expected).float()[None, None], size=(12, 10), mode="bilinear")[0, 0]
    np.testing.assert_allclose(found.map, fine, atol=1e-6)
    assert found.record.values["constant channels"].value == 1
    assert found.record.parameters["channels"] == 7


def test_score_cam_of_features_that_are_constant_is_blank() -> None:
    network = seeded(Pooled)
    network.features[2].bias.data.fill_(-100)
    found = explain(load(network, shape=(3, 12, 10)), torch.rand(3, 12, 10), methods="scorecam", measures="none")
    assert found["scorecam"].record.values["blank"].value is True
    assert "blank" in found["scorecam"].record.notes[0]


def test_score_cam_of_a_model_that_answers_everything_alike_is_blank() -> None:
    network = seeded(Pooled)
    network.head.weight.data.zero_()
    found = explain(load(network, shape=(3, 12, 10)), torch.rand(3, 12, 10), methods="scorecam", measures="none")
    assert found["scorecam"].record.values["blank"].value is True
    assert "nothing weights the channels" in found["scorecam"].record.notes[0]


@pytest.mark.parametrize("kind", NETWORKS)
def test_ablation_cam_is_the_papers_formula(kind: str) -> None:
    make, name, reshape = NETWORKS[kind]
    network = seeded(make)
    module = network.get_submodule(name)
    x = torch.rand((3, 32, 32), generator=torch.Generator().manual_seed(5))
    kept: list[torch.Tensor] = []
    with torch.no_grad():
        with_hook = module.register_forward_hook(lambda *call: kept.append(call[2]))
        whole = network(x[None])[0]
        with_hook.remove()
        grid = kept[0] if reshape is None else reshape(kept[0])
        drops = []
        for channel in range(grid.shape[1]):

            def without(_module: object, _inputs: object, output: torch.Tensor, channel: int = channel) -> torch.Tensor:
                output = output.clone()
                output.select(1 if reshape is None else 2, channel).zero_()
                return output

            handle = module.register_forward_hook(without)
            drops.append(whole - network(x[None])[0])
            handle.remove()
    model = load(network, shape=(3, 32, 32))
    for target in range(5):
        coarse = (torch.stack(drops)[:, target, None, None] * grid[0]).sum(0).relu()
        fine = F.interpolate(coarse[None, None], size=(32, 32), mode="bilinear")[0, 0]
        found = explain(model, x, methods="ablationcam", measures="none", target=target, layer=name)["ablationcam"]
        np.testing.assert_allclose(found.map, fine, rtol=1e-4, atol=1e-5)


def test_the_packages_ablation_of_negative_values_is_no_ablation() -> None:
    """Hold the reason why this part of the package is not used: see test_ablation_cam_is_the_papers_formula."""
    layer = AblationLayer()
    layer.activations_to_be_ablated(np.zeros((2, 3, 3)))
    layer.set_next_batch(0, torch.full((1, 2, 3, 3), -1.0), 2)
    assert float(layer(None).min()) < -1e6


def test_finer_cam_compares_with_the_nearest_outputs() -> None:
    outputs = torch.tensor([[0.0, 5.0, 4.0, 4.5, -3.0]])
    weights = np.exp([4.0, 4.5]) / np.exp([4.0, 4.5]).sum()
    expected = 5.0 - 0.7 * float(weights @ [4.0, 4.5])
    assert float(compared(outputs, 1, [2, 3], 0.7)) == pytest.approx(expected)
    assert float(compared(1000 * outputs, 1, [0, 4], 1.0)) == pytest.approx(5000.0), "no probability underflows"


def test_finer_cam_against_a_class_is_grad_cam_of_the_difference(small: Model, noise: torch.Tensor) -> None:
    finer, plain = (
        explain(small, noise, methods=name, measures="none", target=1, against=3)[name]
        for name in ("finercam", "gradcam")
    )
    np.testing.assert_allclose(finer.map, plain.map, atol=1e-6)
    assert finer.record.parameters["compared with"] == small.classes[3]


def test_finer_cam_needs_another_class(noise: torch.Tensor) -> None:
    found = explain(load(seeded(lambda: Small(1)), shape=(3, 16, 16)), noise, methods="finercam")["finercam"]
    assert found.record.status == "skipped"
    assert "the model has one output" in found.record.reason


@pytest.mark.parametrize("name", CAMS)
def test_the_head_drawn_anew_is_explained_copy_by_copy(name: str, noise: torch.Tensor) -> None:
    model = load(seeded(Small), shape=(3, 16, 16))
    graph = model.graph
    with torch.random.fork_rng():
        torch.manual_seed(0)
        drawn = [redraw(graph, trained_layers(graph)[0]) for _ in range(3)]
    method, x = explainers.get(name)(), noise
    together = Model(**{**vars(model), "graph": (both := Copies(graph, drawn)), "forward": both})
    maps = method.explain(together, x, [Target(copy * 4 + 2, "") for copy in range(3)], Runtime(), "")
    for found, tensors in zip(maps, drawn, strict=True):
        one = Copies(graph, [tensors])
        alone = Model(**{**vars(model), "graph": one, "forward": one})
        (wanted,) = method.explain(alone, x, [Target(2, "")], Runtime(), "")
        np.testing.assert_allclose(found.arrays["map"], wanted.arrays["map"], atol=1e-5)


@pytest.mark.parametrize("name", CAMS)
@pytest.mark.parametrize("kind", ["TorchScript", "ONNX"])
def test_the_same_network_in_another_form_has_the_same_map(name: str, kind: str, tmp_path: Path) -> None:
    network = seeded(vision_transformer if name == "scorecam" else Small)
    x = torch.rand((3, 32, 32), generator=torch.Generator().manual_seed(5))
    path = tmp_path / "net"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporters warn of their own code
        if kind == "ONNX":
            torch.onnx.export(network, (x[None],), path, dynamo=True, verbose=False, external_data=False)
        else:
            torch.jit.save(torch.jit.trace(network, x[None], check_trace=False), path)
    models = [load(network, shape=(3, 32, 32)), load(path, shape=(3, 32, 32))]
    for target in range(3):
        one, other = (explain(model, x, methods=name, measures="none", target=target)[name] for model in models)
        np.testing.assert_allclose(one.map, other.map, atol=1e-5)


@pytest.mark.parametrize("name", ["scorecam", "ablationcam"])
@pytest.mark.parametrize("batch", [1, 3, 100])
def test_the_batch_size_does_not_matter_and_progress_is_told(name: str, batch: int) -> None:
    model = load(seeded(vision_transformer), shape=(3, 32, 32))
    x = torch.rand((3, 32, 32), generator=torch.Generator().manual_seed(5))
    told: list[tuple[str, int, int]] = []
    one, other = (
        explain(
            model,
            x,
            methods=name,
            measures="none",
            parameters={name: {"batch": size}},
            progress=lambda *step: told.append(step),
        )[name]
        for size in (7, batch)
    )
    np.testing.assert_allclose(one.map, other.map, rtol=1e-4, atol=1e-5)
    assert told[-1][1:] == (24, 24)


def test_fewer_channels_are_those_that_matter_most(small: Model, noise: torch.Tensor) -> None:
    for name in ("scorecam", "ablationcam"):
        few, whole = (
            explain(small, noise, methods=name, measures="none", parameters={name: {"channels": number}})[name]
            for number in (2, 8)
        )
        assert (few.record.parameters["channels"], whole.record.parameters["channels"]) == (2, 8)
        assert not np.allclose(few.map, whole.map)


def test_a_tail_runs_what_follows_the_layer_only(monkeypatch: pytest.MonkeyPatch) -> None:
    model = load(seeded(Plain), shape=(3, 32, 32))
    x = torch.rand(5, 3, 32, 32)
    tail = Tail(model.graph, model.layer("last"), x)
    ran: list[str] = []
    run_node = torch.fx.Interpreter.run_node

    def counted(interpreter: torch.fx.Interpreter, node: torch.fx.Node) -> Any:
        ran.append(node.name)
        return run_node(interpreter, node)

    monkeypatch.setattr(torch.fx.Interpreter, "run_node", counted)
    torch.testing.assert_close(tail(tail.value), model(x))
    assert not any(name.startswith("relu") for name in ran), "every ReLU stands before the layer's end"
    changed = model.graph.run(x, {"last": lambda value: value * 2})
    torch.testing.assert_close(tail(2 * tail.value), changed)


@pytest.mark.parametrize("name", CAMS)
def test_a_misspelt_layer_names_its_neighbours(name: str, small: Model, noise: torch.Tensor) -> None:
    with pytest.raises(UsageError, match="no layer 'stemm'; did you mean 'stem'"):
        explain(small, noise, methods=name, layer="stemm")


@pytest.mark.parametrize("name", CAMS)
def test_a_blank_map_is_said(name: str) -> None:
    network = seeded(Small)
    network.again.weight.data.zero_()
    network.again.bias.data.fill_(-1.0)
    found = explain(load(network, shape=(3, 16, 16)), torch.rand(3, 16, 16), methods=name, measures="none")[name]
    assert found.record.status == "ok"
    assert found.record.values["blank"].value is True
    assert "blank" in found.record.notes[0]


def test_gradient_maps_are_those_of_the_declared_needs() -> None:
    for name in CAMS:
        cls = explainers.get(name)
        assert ("gradients" in cls.about.needs) == issubclass(cls, GradientCAM)
    assert AblationCAM().about.needs == {"graph"}
