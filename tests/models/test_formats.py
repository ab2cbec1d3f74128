"""The same network, the same answers: whatever the file."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tests.models.onnx.test_networks import NETWORKS, exported
from tests.networks import seeded
from xai.api import explain, load
from xai.models.architectures import build
from xai.models.model import Model

ARCHITECTURES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "resnet18": (lambda: build("torchvision:resnet18", seed=0).network, (3, 64, 64)),
    "mobilenet_v3_small": (lambda: build("torchvision:mobilenet_v3_small", seed=0).network, (3, 64, 64)),
    "vision transformer": NETWORKS["vision transformer"],
}  # the benchmark `formats` has all of them
NET = """
from tests.models.test_formats import ARCHITECTURES
from tests.networks import seeded

def make(name):
    return seeded(ARCHITECTURES[name][0])
"""


def scripted(network: nn.Module, shape: tuple[int, ...], path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchvision's checks of shapes are traced, and the tracer warns of that
        torch.jit.save(torch.jit.trace(network, torch.rand(2, *shape), check_trace=False), path)


def programmed(network: nn.Module, shape: tuple[int, ...], path: Path) -> None:
    torch.export.save(torch.export.export(network, (torch.rand(1, *shape),)), path)  # the default: the batch is fixed


WHOLE: dict[str, Callable[[nn.Module, tuple[int, ...], Path], object]] = {
    "TorchScript": scripted,
    "torch.export": programmed,
    "ONNX, old exporter": lambda network, shape, path: exported(network, shape, path, "old"),
    "ONNX, new exporter": lambda network, shape, path: exported(network, shape, path, "new"),
    "pickle": lambda network, shape, path: torch.save(network, path),
    "plain pickle": lambda network, shape, path: path.write_bytes(pickle.dumps(network)),
}
WEIGHTS: dict[str, Callable[[nn.Module, Path], object]] = {
    "state dict": lambda network, path: torch.save(network.state_dict(), path),
    "safetensors": lambda network, path: save_file(network.state_dict(), path),
}


Live = tuple[str, nn.Module, Model]


@pytest.fixture(scope="module", params=ARCHITECTURES)
def live(request: pytest.FixtureRequest) -> Live:
    make, shape = ARCHITECTURES[request.param]
    network = seeded(make)
    return request.param, network, load(network, shape=shape)


@pytest.mark.parametrize("form", [*WHOLE, *WEIGHTS])
def test_every_file_of_a_network_gives_its_answers(
    tmp_path: Path, live: tuple[str, nn.Module, Model], form: str
) -> None:
    name, network, model = live
    path, shape = tmp_path / "net", model.input.shape
    if form in WHOLE:
        WHOLE[form](network, shape, path)
        other = load(path, shape=shape, trust_model="pickle" in form)
    else:
        WEIGHTS[form](network, path)
        (tmp_path / "net.py").write_text(NET)
        other = load(path, arch=f"{tmp_path / 'net.py'}:make({name!r})", shape=shape)
    assert other.graph is not None, other.no_graph
    x = torch.rand(3, *shape, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(other(x), model(x), atol=1e-4, rtol=1e-4)
    ours, its = (
        explain(each, x[0], methods="gradcam", measures="none", target=1)["gradcam"] for each in (model, other)
    )
    assert its.record.parameters["layer"] == ours.record.parameters["layer"]
    np.testing.assert_allclose(its.map, ours.map, atol=1e-3)
    assert np.ptp(ours.map) > 0
