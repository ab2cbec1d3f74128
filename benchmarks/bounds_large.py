"""Bounds of large networks: time and peak memory beside the network's own forward pass, or why there are none.

Random weights, one picture of random pixels, eps 1/255; each case in a process of its own, as memory is measured. With
XAI_DATA, CROWN on the trained CIFAR networks, too: widths of the outputs' bounds and seconds an image.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

import xai
from benchmarks._published import CIFAR, subject
from benchmarks.bounds import box
from xai.errors import XaiError
from xai.models.model import Model
from xai.robustness.bounds.methods.base import bounders
from xai.robustness.bounds.outputs import Bounding
from xai.robustness.norms import Norm

REPEATS = 7
ENOUGH = 30.0  # seconds, after which nothing is repeated
IMAGENET = {"torchvision:resnet18": ("ibp", "crown"), "timm:vit_tiny_patch16_224": ("ibp", "crown-ibp", "crown")}
EPSILONS = {"0.25/255": 0.25 / 255, "1/255": 1 / 255}
VERIFICATION = {
    "cifar10_resnet2b": ("resnet_2b", "prop_5_eps_0.008"),
    "oval21_base": ("cifar_base_kw", "cifar_base_kw-img4549-eps0.00392156862745098"),
}


def measure(device: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, methods in IMAGENET.items():
        plain = _alone(name, "", device)
        cases = {method: _beside(plain, _alone(name, method, device)) for method in methods}
        found[f"{name}, 224 px"] = {"forward": plain, **cases}
    if "XAI_DATA" not in os.environ:
        return {**found, "trained CIFAR networks": "XAI_DATA is not set"}
    return {**found, **_verification(device), "ResNet-20": _cifar(device)}


def _alone(name: str, method: str, device: str) -> dict[str, Any]:
    """Return seconds and peak memory of a forward pass, or of a method, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.bounds_large", name, method, device]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _beside(plain: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    if "seconds" not in own:
        return own
    ratios = {f"{name}, forwards": round(own[name] / plain[name], 2) for name in ("seconds", "peak MiB")}
    return {**own, **ratios}


def _case(name: str, method: str, device: str) -> dict[str, Any]:
    model = xai.load(
        f"{name}(weights=None)" if name.startswith("torchvision") else f"{name}(pretrained=False)", device=device
    )
    x = torch.rand((1, *model.input.shape), generator=torch.Generator().manual_seed(0)).to(device)
    try:
        run = _bound(model, method, x) if method else lambda: model(x)
        with torch.no_grad():
            said = run()
            seconds = statistics.median(_times(run))
    except XaiError as refused:
        return {"not decided": str(refused)}
    peak = next(
        line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")
    )
    finite = {"finite": bool(said.width.isfinite().all())} if method else {}
    return {"seconds": round(seconds, 4), "peak MiB": round(int(peak) / 2**10), **finite}


def _bound(model: Model, method: str, x: torch.Tensor) -> Any:
    bounding = Bounding(model, bounders.get(method)())
    inputs = bounding.inputs(x, Norm.LINF, 1 / 255)
    _ = bounding.program
    return lambda: bounding.outputs(inputs)


def _times(run: Any) -> list[float]:
    """Return the seconds of each of several runs; of what is slow, of fewer."""
    found: list[float] = []
    while len(found) < REPEATS and sum(found) < ENOUGH:
        found.append(_timed(run))
    return found


def _timed(run: Any) -> float:
    begun = time.perf_counter()
    run()
    return time.perf_counter() - begun


def _verification(device: str) -> dict[str, Any]:
    found = {}
    for folder, (network, wanted) in VERIFICATION.items():
        place = Path(os.environ["XAI_DATA"]) / "verification" / folder
        model = xai.load(place / "onnx" / f"{network}.onnx", device=device)
        bounding = Bounding(model, bounders.get("crown")())
        region = bounding.box(*box(place / "vnnlib" / f"{wanted}.vnnlib", model.input.shape))
        _ = bounding.program
        begun = time.perf_counter()
        width = float(bounding.outputs(region).width.mean())
        found[f"{folder}, {wanted}"] = {"width": width, "seconds": time.perf_counter() - begun}
    return found


def _cifar(device: str) -> dict[str, Any]:
    own = subject(CIFAR, device).first(1)
    found: dict[str, Any] = {}
    for method in ("ibp", "crown-ibp", "crown"):
        bounding = Bounding(own.model, bounders.get(method)())
        _ = bounding.program
        for name, epsilon in EPSILONS.items():
            begun = time.perf_counter()
            width = float(bounding.outputs(bounding.inputs(own.x, Norm.LINF, epsilon)).width.mean())
            found[f"{method}, {name}"] = {"width": width, "seconds": time.perf_counter() - begun}
    return found


if __name__ == "__main__":
    print(json.dumps(_case(*sys.argv[1:])))
