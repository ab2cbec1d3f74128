"""LRP against captum's epsilon rule and zennit's composite, and conservation."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from captum.attr import LRP as Reference  # noqa: N811  # the package's own name
from captum.attr._utils.lrp_rules import EpsilonRule
from torch import nn
from torch.nn import functional as F
from zennit.attribution import Gradient
from zennit.canonizers import SequentialMergeBatchNorm
from zennit.composites import LayerMapComposite, layer_map_base
from zennit.core import Stabilizer
from zennit.rules import Epsilon, Gamma
from zennit.types import Convolution
from zennit.types import Linear as Dense

from tests.architectures import SIDE, Loader
from tests.networks import Linear, cnn, seeded
from xai.api import explain, load
from xai.models.model import Model
from xai.reports.run import Found


def lrp(model: Model, x: torch.Tensor, target: int = 1, **parameters: object) -> Found:
    return explain(model, x, methods="lrp", target=target, measures="none", parameters={"lrp": parameters})["lrp"]


def without_biases(make: Callable[[], nn.Module]) -> nn.Module:
    network = seeded(make)
    for module in network.modules():
        if getattr(module, "bias", None) is not None:
            module.bias.data.zero_()
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.zero_()
    return network


@pytest.mark.parametrize("target", range(4))
def test_without_gamma_it_equals_captums_epsilon_rule(noise: torch.Tensor, target: int) -> None:
    layers = list(seeded(cnn))
    network = nn.Sequential(layers[0], *layers[2:]).eval()  # captum has no rule for batch normalisation
    ours = lrp(load(network, shape=(3, 16, 16)), noise, target, gamma=0, epsilon=1e-9).map
    for layer in network:
        if isinstance(layer, nn.AdaptiveAvgPool2d | nn.MaxPool2d | nn.Flatten):
            layer.rule = EpsilonRule()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = Reference(network).attribute(noise[None].clone().requires_grad_(), target=target)[0].sum(0).detach()
    np.testing.assert_allclose(ours, theirs, atol=1e-5 * float(theirs.abs().max()))


@pytest.mark.parametrize("target", range(4))
@pytest.mark.parametrize("gamma", [0.0, 0.25, 10.0])
@pytest.mark.parametrize("epsilon", [1e-6, 0.25])
def test_it_equals_zennits_composite(noise: torch.Tensor, target: int, gamma: float, epsilon: float) -> None:
    noise = 2 * noise - 1  # so that inputs of both signs are tried
    ours = lrp(load(seeded(cnn), shape=(3, 16, 16), range=(-1, 1)), noise, target, gamma=gamma, epsilon=epsilon).map
    stable, added = (Stabilizer(size, norm_scale=True) for size in (1e-9, epsilon))
    rules = [(Convolution, Gamma(gamma, stabilizer=stable)), (Dense, Epsilon(added))]
    composite = LayerMapComposite([*rules, *layer_map_base(stabilizer=1e-12)], canonizers=[SequentialMergeBatchNorm()])
    x = noise[None].clone().requires_grad_()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its hooks
        with Gradient(seeded(cnn), composite) as attributor:
            theirs = attributor(x, lambda outputs: outputs * torch.eye(4)[target])[1][0].sum(0).detach()
    np.testing.assert_allclose(ours, theirs, atol=1e-5 * float(theirs.abs().max()))


def test_of_a_linear_model_it_is_what_each_pixel_adds_to_the_datasets_mean() -> None:
    mean = (0.2, 0.4, 0.6)
    model = load(Linear(), shape=(3, 12, 10), mean=mean, std=0.5)
    x = torch.rand((3, 12, 10), generator=torch.Generator().manual_seed(1))
    expected = ((x - torch.tensor(mean).view(3, 1, 1)) / 0.5 * Linear().weight[2].detach()).sum(0)
    found = lrp(model, x, 2)
    np.testing.assert_allclose(found.map, expected, atol=2e-4)
    assert found.record.values["conserved"].value == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("gamma", [0.0, 0.25, 1.0])
def test_without_biases_all_relevance_is_conserved(noise: torch.Tensor, gamma: float) -> None:
    network = without_biases(cnn)
    for target in range(4):
        found = lrp(load(network, shape=(3, 16, 16)), noise, target, gamma=gamma)
        output = network(noise[None])[0, target].item()
        assert found.map.sum(dtype=np.float64) == pytest.approx(output, rel=1e-3)
        assert found.record.values["output"].value == pytest.approx(output, rel=1e-5)
        assert found.record.values["conserved"].value == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(("added", "kept"), [(0.9, 1 / 1.9), (1.1, 1 / 2.1)])
def test_biases_keep_what_is_said_to_be_missing(noise: torch.Tensor, added: float, kept: float) -> None:
    network = without_biases(cnn)
    network[-1].bias.data.fill_(added * network(noise[None])[0, 1].item())
    found = lrp(load(network, shape=(3, 16, 16)), noise)
    assert found.record.values["conserved"].value == pytest.approx(kept, abs=1e-3)
    said = [note for note in found.record.notes if "does not account for it" in note]
    assert len(said) == (kept < 0.5)


@pytest.mark.parametrize("architecture", ["resnet18", "densenet121", "convnext_tiny"])
def test_networks_whose_biases_are_drawn_as_0_conserve_it(architecture: str, loaded: Loader) -> None:
    x = torch.rand((3, SIDE, SIDE), generator=torch.Generator().manual_seed(3))
    found = explain(loaded(architecture), x, methods="lrp", measures="none")["lrp"]
    assert found.record.values["conserved"].value == pytest.approx(1, abs=1e-3)


class Attention(nn.Module):
    """Attention whose parts are all the same tokens, without weights."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = x.flatten(2)
        return F.scaled_dot_product_attention(tokens, tokens, tokens).flatten(1)


def test_attention_follows_attnlrp() -> None:
    x = torch.rand((2, 2, 3), generator=torch.Generator().manual_seed(5))
    found = lrp(load(Attention(), shape=(2, 2, 3)), x, 4).map
    tokens = x.flatten(1).double()
    scores = tokens @ tokens.T / 6**0.5
    weights = scores.softmax(-1)
    relevance = torch.zeros(2, 6, dtype=torch.float64)  # of output 4: the first token's fourth number
    products = weights[0] * tokens[:, 4]
    relevance[:, 4] += products / 2
    of_weights = products / 2
    of_scores = scores[0] * (of_weights - weights[0] * of_weights.sum())  # proposition 3.1
    parts = tokens[0] * tokens / 6**0.5  # what makes a score
    shares = of_scores[:, None] * parts / scores[0][:, None]
    relevance += shares / 2
    relevance[0] += shares.sum(0) / 2
    np.testing.assert_allclose(found, relevance.view(2, 2, 3).sum(0), atol=1e-6)


def test_a_gate_and_what_it_lets_through_get_half_each() -> None:
    class Gate(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            flat = x.flatten(1)
            return flat[:, :1] * torch.tanh(flat[:, 1:])

    found = lrp(load(Gate(), shape=(1, 1, 2)), torch.tensor([[[0.8, 0.5]]]), 0)
    output = 0.8 * np.tanh(0.5)
    np.testing.assert_allclose(found.map, [[output / 2, output / 2]], rtol=1e-6)


@pytest.mark.parametrize("form", ["TorchScript", "ONNX"])
def test_a_file_gives_the_map_of_its_module(noise: torch.Tensor, tmp_path: Path, form: str) -> None:
    network = seeded(cnn)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # exporters warn of what they use themselves
        if form == "ONNX":
            torch.onnx.export(
                network, (noise[None],), tmp_path / "net", dynamo=False, dynamic_axes={"x": {0: "b"}}, input_names=["x"]
            )
        else:
            torch.jit.script(network).save(tmp_path / "net")
    for method in ("lrp", "deeplift", "guidedbackprop", "integratedgradients"):
        maps = [
            explain(model, noise, methods=method, target=1, measures="none")[method].map
            for model in (load(network, shape=(3, 16, 16)), load(tmp_path / "net", shape=(3, 16, 16)))
        ]
        np.testing.assert_allclose(maps[0], maps[1], atol=1e-5 * float(np.abs(maps[0]).max()))


def test_an_operator_without_a_rule_is_named() -> None:
    class Odd(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cumprod(x.flatten(1), 1)

    record = lrp(load(Odd(), shape=(1, 2, 2)), torch.rand(1, 2, 2), 0).record
    assert record.status == "skipped"
    assert record.reason == "there is no rule for the operator cumprod"


def test_the_scale_of_a_network_does_not_matter(noise: torch.Tensor) -> None:
    maps = []
    for scale in (1.0, 1e-6):
        network = without_biases(cnn)
        network[0].weight.data *= scale
        network[1].eps = 0.0
        network[1].running_var.fill_(1.0)
        maps.append(lrp(load(network, shape=(3, 16, 16)), noise).map / scale)
    np.testing.assert_allclose(maps[0], maps[1], rtol=1e-3, atol=1e-5 * float(np.abs(maps[0]).max()))
