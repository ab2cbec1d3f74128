"""Guided backpropagation against captum, and on networks whose rectifiers are others."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from captum.attr import GuidedBackprop as Reference
from torch import nn

from tests.networks import Linear, Small, cnn, seeded
from xai.api import explain, load


@pytest.mark.parametrize("target", range(4))
def test_it_equals_captum(noise: torch.Tensor, target: int) -> None:
    network = seeded(cnn)
    ours = explain(load(network, shape=(3, 16, 16)), noise, methods="guidedbackprop", target=target)["guidedbackprop"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # captum tells of its hooks
        theirs = Reference(network).attribute(noise[None].clone().requires_grad_(), target=target)[0].sum(0)
    np.testing.assert_allclose(ours.map, theirs, atol=1e-5 * float(theirs.abs().max()))
    plain = explain(load(network, shape=(3, 16, 16)), noise, methods="saliency", target=target)["saliency"].map
    assert not np.allclose(np.abs(ours.map), plain)


def by_hand(network: Small, x: torch.Tensor, target: int) -> np.ndarray:
    """Return the map of `Small`, whose modules are used several times: hooks on modules would not do."""

    def relu(value: torch.Tensor) -> torch.Tensor:
        made = torch.relu(value)
        made.register_hook(lambda gradient: gradient * (gradient > 0))
        return made

    x = x.clone().requires_grad_()
    h = relu(network.norm(network.stem(x)))
    h = relu(network.again(h)) + h
    network.head(network.pool(relu(network.again(h))).flatten(1))[0, target].backward()
    return x.grad[0].sum(0).numpy()


@pytest.mark.parametrize("target", range(4))
def test_it_equals_a_plain_second_version_through_reused_and_in_place_modules(noise: torch.Tensor, target: int) -> None:
    model = load(seeded(Small), shape=(3, 16, 16))
    ours = explain(model, noise, methods="guidedbackprop", target=target)["guidedbackprop"].map
    np.testing.assert_allclose(ours, by_hand(seeded(Small), noise[None], target), atol=1e-7)


def test_its_failed_sanity_check_is_said(noise: torch.Tensor) -> None:
    record = explain(load(seeded(Small), shape=(3, 16, 16)), noise, methods="guidedbackprop")["guidedbackprop"].record
    assert "fails the sanity check of Adebayo et al. 2018" in record.limits
    assert "draws the edges of the picture" in " ".join(record.notes)
    assert "in its place" not in " ".join(record.notes)


def test_rectifiers_that_the_paper_does_not_know_are_named(noise: torch.Tensor) -> None:
    network = seeded(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.GELU(), nn.Flatten(), nn.Linear(784, 3)))
    found = explain(load(network, shape=(3, 16, 16)), noise, methods="guidedbackprop", target=0)["guidedbackprop"]
    assert "here gelu is guided in its place" in found.record.notes[-1]
    hidden = network[0](noise[None]).detach().requires_grad_()
    weight = network[3].weight[0].detach().clamp(min=0).view(1, 4, 14, 14)
    (gradient,) = torch.autograd.grad((nn.functional.gelu(hidden) * weight).sum(), hidden)
    expected = nn.functional.conv_transpose2d(gradient, network[0].weight).sum(1)[0].detach()
    np.testing.assert_allclose(found.map, expected, atol=1e-6)


def test_without_a_rectifier_nothing_is_passed_off_as_guided(noise: torch.Tensor) -> None:
    found = explain(load(Linear((3, 16, 16)), shape=(3, 16, 16)), noise, methods="guidedbackprop")["guidedbackprop"]
    assert found.record.status == "skipped"
    assert "no rectifiers" in found.record.reason


def test_a_script_gives_the_map_of_its_module(noise: torch.Tensor, tmp_path: Path) -> None:
    network = seeded(Small)
    torch.jit.script(network).save(tmp_path / "net.pt")
    maps = [
        explain(model, noise, methods="guidedbackprop", target=1)["guidedbackprop"].map
        for model in (load(network, shape=(3, 16, 16)), load(tmp_path / "net.pt", shape=(3, 16, 16)))
    ]
    np.testing.assert_allclose(maps[0], maps[1], atol=1e-7)
    assert maps[0].any()
