"""Another engine where no gradient is needed: the same outputs, never of another network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.architectures import SIDE, Loader
from xai.api import explain
from xai.errors import AnalysisError, UsageError
from xai.models.accelerated import accelerated
from xai.models.model import Engine, Model
from xai.models.redrawn import Copies, redraw, trained_layers


@pytest.fixture(scope="module")
def quick(small: Model) -> Model:
    pytest.importorskip("openvino", reason="OpenVINO is an extra")
    return accelerated(small, "openvino")


@pytest.mark.parametrize("architecture", ["resnet18", "vit_b_16"])
def test_its_outputs_are_the_networks(architecture: str, loaded: Loader) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is an extra")
    model = accelerated(loaded(architecture), "openvino")
    assert model.engine.name.startswith("OpenVINO 2")
    for batch in (1, 3):
        x = torch.rand((batch, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(batch))
        expected = model(x).detach()
        torch.testing.assert_close(model.outputs(x), expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("method", ["lime", "rise", "kernelshap", "occlusion", "gradcam"])
def test_maps_are_the_same(small: Model, quick: Model, noise: torch.Tensor, method: str) -> None:
    given = {method: {"samples": 40}} if method in ("lime", "rise", "kernelshap") else {}
    one, other = (
        explain(model, noise, methods=method, measures="none", parameters=given)[method].map for model in (small, quick)
    )
    np.testing.assert_allclose(one, other, atol=1e-4 * np.abs(one).max())


def test_it_runs_what_needs_no_gradient(small: Model, noise: torch.Tensor) -> None:
    asked = []

    def forward(x: torch.Tensor) -> torch.Tensor:
        asked.append(len(x))
        return small(x).detach()

    model = replace(small, engine=Engine("a double", forward))
    explain(model, noise, methods="lime", measures="none", parameters={"lime": {"samples": 40}})
    assert sum(asked) == 2 + 40  # tried on two random inputs, and every sample


def test_redrawn_copies_and_other_networks_never_run_in_it(small: Model, quick: Model, noise: torch.Tensor) -> None:
    graph = small.graph
    copy = Copies(graph, [redraw(graph, trained_layers(graph)[0])])
    other = replace(quick, graph=copy, forward=copy)
    torch.testing.assert_close(other.outputs(noise[None]), copy(noise[None]).detach())
    doubled = replace(quick, forward=lambda x: 2 * small(x))
    torch.testing.assert_close(doubled.outputs(noise[None]), 2 * small(noise[None]).detach())


def test_what_cannot_be_is_told(small: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="no engine 'tpu'; expected one of torch, openvino"):
        accelerated(small, "tpu")
    assert accelerated(small, "torch") is small
    with pytest.raises(UsageError, match="runs on the CPU"):
        accelerated(replace(small, device=torch.device("cuda")), "openvino")
    wrong = Engine("wrong", lambda x: torch.zeros(len(x), len(small.classes)))
    monkeypatch.setattr("xai.models.accelerated._openvino", lambda path: wrong)
    monkeypatch.setattr("xai.models.accelerated._check_installed", lambda: None)
    with pytest.raises(AnalysisError, match="other outputs than the network"):
        accelerated(small, "openvino")
