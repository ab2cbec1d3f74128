"""Every format of a model file by every architecture: does it open, how far from the live network, how long it takes.

Differences are of float32 outputs on three random inputs, as a share of the largest output, and of Grad-CAM's
map (min-max scaled) at the live network's layer. Seconds are of opening the file, first without a kept graph, then with
it. onnx2torch, the usual importer, is tried on the same ONNX files where it is installed.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from safetensors.torch import save_file
from torch import nn

import xai
from xai.models.architectures import build
from xai.models.assembly import difference
from xai.models.cache import FOLDER
from xai.models.model import Model
from xai.models.onnx.reading import read
from xai.models.onnx.runtime import Runner

PICTURES: dict[str, tuple[str, tuple[int, ...]]] = {
    "resnet18": ("torchvision:resnet18", (3, 64, 64)),
    "mobilenet_v3_small": ("torchvision:mobilenet_v3_small", (3, 64, 64)),
    "efficientnet_b0": ("torchvision:efficientnet_b0", (3, 64, 64)),
    "convnext_tiny": ("torchvision:convnext_tiny", (3, 64, 64)),
    "vit_b_16": ("torchvision:vit_b_16(image_size=64)", (3, 64, 64)),
    "densenet121": ("torchvision:densenet121", (3, 64, 64)),
    "squeezenet1_1": ("torchvision:squeezenet1_1", (3, 64, 64)),
    "inception_v3": ("torchvision:inception_v3", (3, 128, 128)),
    "swin_t": ("torchvision:swin_t", (3, 64, 64)),
}


class Signal(nn.Module):
    """A 1-D CNN."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv1d(2, 8, 5), nn.BatchNorm1d(8), nn.ReLU(), nn.Conv1d(8, 16, 3, stride=2))
        self.head = nn.Linear(16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x).mean(-1))


class Sequence(nn.Module):
    """An LSTM of two layers and two directions."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = nn.LSTM(6, 16, num_layers=2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(32, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.memory(x)[0][:, -1])


def rows() -> nn.Module:
    return nn.Sequential(nn.Linear(10, 32), nn.GELU(), nn.LayerNorm(32), nn.Dropout(), nn.Linear(32, 3))


OTHERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "1-D CNN": (Signal, (2, 100)),
    "LSTM": (Sequence, (12, 6)),
    "MLP": (rows, (10,)),
}


def _exported(network: nn.Module, shape: tuple[int, ...], path: Path, dynamo: bool) -> None:
    more = {"external_data": False} if dynamo else {"opset_version": 20}
    torch.onnx.export(network, (torch.rand(1, *shape),), path, dynamo=dynamo, verbose=False, **more)


def _scripted(network: nn.Module, shape: tuple[int, ...], path: Path) -> None:
    torch.jit.save(torch.jit.trace(network, torch.rand(2, *shape), check_trace=False), path)


def _programmed(network: nn.Module, shape: tuple[int, ...], path: Path) -> None:
    torch.export.save(torch.export.export(network, (torch.rand(1, *shape),)), path)


FORMS: dict[str, Callable[[nn.Module, tuple[int, ...], Path], object]] = {
    "state dict": lambda network, _, path: torch.save(network.state_dict(), path),
    "safetensors": lambda network, _, path: save_file(network.state_dict(), path),
    "TorchScript": _scripted,
    "torch.export, batch fixed at 1": _programmed,
    "ONNX, old exporter": lambda network, shape, path: _exported(network, shape, path, dynamo=False),
    "ONNX, new exporter": lambda network, shape, path: _exported(network, shape, path, dynamo=True),
    "pickle, trusted": lambda network, _, path: torch.save(network, path),
}


def measure(device: str) -> dict[str, Any]:
    table: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, (spec, shape) in PICTURES.items():
            table[name] = _forms(
                _seeded(lambda spec=spec: build(spec).network, shape), shape, spec, Path(folder), device
            )
        for name, (make, shape) in OTHERS.items():
            table[name] = _forms(_seeded(make, shape), shape, "", Path(folder), device)
    return {"architectures": table, "verification": _verification()}


def _seeded(make: Callable[[], nn.Module], shape: tuple[int, ...]) -> nn.Module:
    """Return a network whose outputs differ among inputs: a head of zeros gets weights, a batch norm its statistics."""
    torch.manual_seed(0)
    network = make()
    for parameter in network.parameters():
        if not parameter.any() and parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.05)
    network.eval()
    for module in network.modules():
        module.train(isinstance(module, nn.modules.batchnorm._BatchNorm))  # the one name that all of them share
    with torch.no_grad():
        for _ in range(10):
            network(torch.rand(8, *shape))
    return network.eval()


def _forms(network: nn.Module, shape: tuple[int, ...], spec: str, folder: Path, device: str) -> dict[str, Any]:
    # torchvision declares mean and std for its architectures, other files do not: here none is applied.
    limit: dict[str, Any] = {"mean": 0.0, "std": 1.0} if len(shape) == 3 else {"range": None}
    os.environ[FOLDER] = "off"
    live = xai.load(network, shape=shape, device=device, **limit)
    found = {}
    for form, write in FORMS.items():
        path = folder / "net.pt2"  # what a file is, its bytes say; torch.export.save warns of other names
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            write(network, shape, path)
        weights = form in ("state dict", "safetensors")
        if weights and not spec:
            continue
        options = {"shape": shape, "device": device, "trust_model": form.startswith("pickle"), **limit}
        options |= {"arch": spec} if weights else {}
        found[form] = _opened(path, live, options, folder)
        if form.startswith("ONNX"):
            found[form]["onnx2torch opens it"] = _peer(path)
    return found


def _opened(path: Path, live: Model, options: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Open a file twice, with an empty cache, and compare it with the live network."""
    with tempfile.TemporaryDirectory(dir=folder) as kept:
        os.environ[FOLDER] = kept
        begun = time.perf_counter()
        try:
            model = xai.load(path, **options)
        except xai.XaiError as error:
            return {"opens": False, "reason": str(error)}
        first = time.perf_counter() - begun
        begun = time.perf_counter()
        again = xai.load(path, **options)
        second = time.perf_counter() - begun
    assert again.fingerprint == model.fingerprint
    x = torch.rand(3, *live.input.shape, generator=torch.Generator().manual_seed(1)).to(live.device)
    with torch.no_grad():
        wanted, given = live(x), model(x)
    row: dict[str, Any] = {
        "opens": "as a graph" if model.graph else f"as a black box: {model.no_graph}",
        "logits differ by": difference(given, wanted),
        "seconds": round(first, 2),
        "seconds again": round(second, 2),
    }
    return row | (_maps(live, model, x[0]) if len(live.input.shape) == 3 and model.graph else {})


def _maps(live: Model, model: Model, x: torch.Tensor) -> dict[str, Any]:
    runs = [
        xai.explain(each, x.cpu(), methods="gradcam", measures="none", target=1)["gradcam"] for each in (live, model)
    ]
    one, two = ((run.map - run.map.min()) / max(np.ptp(run.map), 1e-12) for run in runs)
    layers = [run.record.parameters["layer"] for run in runs]
    return {"map differs by": float(np.abs(one - two).max()), "same layer": layers[0] == layers[1], "layer": layers[1]}


def _peer(path: Path) -> str:
    """Say whether onnx2torch converts a file."""
    try:
        convert = importlib.import_module("onnx2torch").convert
    except ImportError:
        return "not installed"
    try:
        convert(onnx.load(path))
    except Exception as error:
        return f"no: {type(error).__name__} {' '.join(str(error).split())[:80]}"
    return "yes"


def _verification() -> dict[str, Any]:
    """Open every network of the verification problems, and compare it with onnxruntime."""
    data = os.environ.get("XAI_DATA")
    paths = sorted(Path(data).glob("verification/**/*.onnx")) if data else []
    worst, graphs = 0.0, 0
    os.environ[FOLDER] = "off"
    for path in paths:
        model = xai.load(path)
        low, high = model.input.span
        x = low + (high - low) * torch.rand(3, *model.input.shape, generator=torch.Generator().manual_seed(1))
        run = Runner(read(path))
        wanted = torch.cat([run(row[None]) for row in x])
        worst = max(worst, difference(model(x).cpu(), wanted))
        graphs += model.graph is not None
    return {"networks": len(paths), "opened as graphs": graphs, "largest difference from onnxruntime, a share": worst}
