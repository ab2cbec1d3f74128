"""Re-drawn models: copies are what they claim to be, and maps that ignore the model are found."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from tests.measures.subjects import gradient, subject
from tests.networks import Branching, Small, seeded
from xai.api import explain, load
from xai.errors import NotApplicableError
from xai.explainers.base import explainers
from xai.measures.base import decided, median_interval, rank_correlation
from xai.measures.cascade import Cascade
from xai.measures.randomisation import Randomisation
from xai.models.architectures import build
from xai.models.model import Model
from xai.models.redrawn import Copies, redraw, trained_layers
from xai.models.targets import Target
from xai.runtime import Runtime


def really_changed(model: Model, tensors: dict[str, torch.Tensor]) -> Model:
    """Return a model whose module really holds other tensors: the slow second version."""
    network = seeded(Small)
    state = network.state_dict()
    state.update({name.removeprefix("network."): tensor for name, tensor in tensors.items()})
    network.load_state_dict(state)
    return load(network, shape=(3, 16, 16), mean=(0.4, 0.5, 0.6), std=0.25)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_copies_equal_networks_that_hold_the_other_tensors(small: Model, depth: int) -> None:
    names = [name for layer in trained_layers(small.graph)[:depth] for name in layer]
    torch.manual_seed(0)
    drawn = [redraw(small.graph, names) for _ in range(3)]
    x = torch.rand((5, 3, 16, 16), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        found = Copies(small.graph, drawn)(x)
        expected = torch.cat([really_changed(small, tensors)(x) for tensors in drawn], dim=1)
        np.testing.assert_allclose(found, expected, atol=1e-5)
        assert (found[:, :4] - small(x)).abs().max() > 1e-3


@pytest.mark.parametrize("name", ["gradcam", "occlusion", "lime"])
def test_a_copys_map_is_that_of_the_network_itself(small: Model, noise: torch.Tensor, name: str) -> None:
    torch.manual_seed(0)
    head = trained_layers(small.graph)[0]
    drawn = [redraw(small.graph, head) for _ in range(3)]
    copies = Copies(small.graph, drawn)
    method = explainers.get(name)()
    targets = [Target(copy * 4 + 2, "") for copy in range(3)]
    found = method.explain(replace(small, graph=copies, forward=copies), noise, targets, Runtime(), "key")
    for explanation, tensors in zip(found, drawn, strict=True):
        other = really_changed(small, tensors)
        (expected,) = method.explain(other, noise, [other.target(2)], Runtime(), "key")
        np.testing.assert_allclose(explanation.arrays["map"], expected.arrays["map"], atol=1e-5)


def test_penultimate_features_are_computed_once_for_all_heads(small: Model, noise: torch.Tensor) -> None:
    asked: list[str] = []

    def tap(name: str):
        return lambda value: asked.append(name) or value

    copies = Copies(small.graph, [redraw(small.graph, trained_layers(small.graph)[0]) for _ in range(10)])
    outputs = copies.run(noise[None], {"pool": tap("pool")})
    assert asked == ["pool"]
    assert outputs.shape == (1, 40)
    with pytest.raises(NotApplicableError, match="differs between the copies"):
        copies.run(noise[None], {"head": tap("head")})


def test_a_head_that_the_map_looks_at_is_drawn_copy_by_copy() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = load(network, shape=(3, 16, 16))
    assert model.spatial_layer.name == "2"
    x = torch.rand((3, 16, 16), generator=torch.Generator().manual_seed(1))
    run = explain(model, x, methods=["gradcam", "occlusion"], measures="randomisation", target=1)
    for method in ("gradcam", "occlusion"):
        (trust,) = run[method].record.trust
        correlations = run.array(trust, "correlations")
        kept = correlations[~np.isnan(correlations)]
        assert len(np.unique(kept.round(6))) == len(kept) > 1


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("torchvision:resnet18", "fc.weight"),
        ("torchvision:vit_b_16(image_size=32)", "heads.head.weight"),
        ("torchvision:squeezenet1_1", "classifier.1.weight"),
        ("torchvision:densenet121", "classifier.weight"),
        ("torchvision:swin_t", "head.weight"),
        ("torchvision:convnext_tiny", "classifier.2.weight"),
    ],
)
def test_the_head_is_found(name: str, head: str) -> None:
    size = 32 if "image_size" in name else 64
    model = load(build(name, seed=0).network, shape=(3, size, size))
    layers = trained_layers(model.graph)
    assert f"network.{head}" in layers[0]
    assert len(layers[0]) == 2
    listed = [tensor for layer in layers for tensor in layer]
    assert len(listed) == len(set(listed)) == len(dict(model.graph.module.named_parameters()))


def test_a_map_that_ignores_the_model_is_found(small: Model, noise: torch.Tensor) -> None:
    ignoring = subject(small, noise, lambda model, x, target: x.mean(0).numpy())
    for measure in (Randomisation(), Cascade(depths=2)):
        said = measure.measure(ignoring, Runtime())
        assert said.speaks == "against"
    assert Randomisation().measure(ignoring, Runtime()).values["median"].value == pytest.approx(1)


def test_a_map_that_follows_the_head_passes() -> None:
    from tests.networks import Linear

    model = load(Linear(), shape=(3, 12, 10))
    x = torch.rand((3, 12, 10), generator=torch.Generator().manual_seed(1))
    said = Randomisation(draws=20).measure(subject(model, x, gradient), Runtime())
    assert said.speaks == "for"
    values = {name: value.value for name, value in said.values.items()}
    assert values["lowest"] <= values["median"] <= values["highest"] < 0.5
    assert values["blank maps"] == 0
    sizes = np.abs(said.arrays["correlations"])
    assert values["median"] == pytest.approx(np.median(sizes))
    assert "over 20 maps" in said.sentence


def test_blank_maps_are_counted_and_left_out(small: Model, noise: torch.Tensor) -> None:
    blanks = {"2", "4", "9"}  # the first copy has the place of the model itself

    def sometimes(model: Model, x: torch.Tensor, target: Target) -> np.ndarray:
        blank = str(target.index // 4 + 1) in blanks
        return np.zeros((16, 16)) if blank else gradient(model, x, target)

    said = Randomisation().measure(subject(small, noise, sometimes), Runtime())
    assert said.values["blank maps"].value == 3
    assert said.values["median"].n == 17
    assert "over 17 maps, 3 more were blank" in said.sentence
    assert np.isnan(said.arrays["correlations"]).tolist() == [n in (1, 3, 8) for n in range(20)]
    blanks |= {str(number) for number in range(2, 13)}
    said = Randomisation().measure(subject(small, noise, sometimes), Runtime())
    assert said.values["median"].n == 9
    assert said.speaks == "neither", "nine maps of twenty decide nothing"
    assert "most maps are blank (11 of 20)" in said.sentence


def test_cascade_forgets_everything_in_the_end(shapes: Model) -> None:
    from tests.conftest import IMAGES

    found = explain(shapes, IMAGES / "star.png", methods="occlusion", measures="cascade")
    (trust,) = found["occlusion"].record.trust
    assert list(trust.values)[:-1] == [f"{count} of 5 layers" for count in (1, 2, 4, 5)]
    assert trust.values["5 of 5 layers"].value < 0.5
    assert trust.values["5 of 5 layers"].n == 5


def test_rank_correlation_is_spearmans() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.random((6, 7)), rng.random((6, 7))
    assert rank_correlation(one, other) == pytest.approx(spearmanr(one.ravel(), other.ravel()).statistic)
    assert rank_correlation(one, np.exp(one)) == pytest.approx(1)
    assert rank_correlation(one, -one) == pytest.approx(-1)
    assert rank_correlation(one, np.ones_like(one)) is None


def test_a_black_box_is_skipped_with_the_reason() -> None:
    model = load(Branching(), shape=(3, 12, 10))
    found = explain(
        model, torch.rand(3, 12, 10), methods="occlusion", measures=["randomisation", "cascade", "deletion"]
    )
    statuses = {trust.measure: trust.status for trust in found["occlusion"].record.trust}
    assert statuses == {"randomisation": "skipped", "cascade": "skipped", "deletion": "ok"}
    assert all("black box" in trust.reason for trust in found["occlusion"].record.trust if trust.status == "skipped")


@pytest.mark.parametrize("number", [10, 20, 51])
def test_the_medians_interval_holds_it_often_enough(number: int) -> None:
    rng = np.random.default_rng(0)
    drawn = rng.exponential(size=(4000, number))
    intervals = np.array([median_interval(row) for row in drawn])
    held = ((intervals[:, 0] <= np.log(2)) & (np.log(2) <= intervals[:, 1])).mean()
    assert 0.945 <= held <= 0.985
    assert median_interval(np.array([3.0])) == (3.0, 3.0)


def test_near_the_line_and_with_few_maps_nothing_is_decided() -> None:
    assert decided(np.linspace(0.3, 0.7, 20), 20, 0.5) == "neither"
    assert decided(np.linspace(0.1, 0.4, 20), 20, 0.5) == "for"
    assert decided(np.linspace(0.6, 0.9, 20), 20, 0.5) == "against"
    assert decided(np.linspace(0.6, 0.9, 9), 20, 0.5) == "neither"
    assert decided(np.array([0.1, 0.1, 0.1, 0.1, 0.73]), 5, 0.5) == "neither"
