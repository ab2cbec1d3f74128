"""CROWN on the trained CIFAR networks: widths of the outputs' bounds, and seconds an image. Needs XAI_DATA."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import xai
from benchmarks._published import CIFAR, subject
from benchmarks.bounds import box
from xai.robustness.bounds.methods.base import bounders
from xai.robustness.bounds.outputs import Bounding
from xai.robustness.norms import Norm

EPSILONS = {"0.25/255": 0.25 / 255, "1/255": 1 / 255}
VERIFICATION = {
    "cifar10_resnet2b": ("resnet_2b", "prop_5_eps_0.008"),
    "oval21_base": ("cifar_base_kw", "cifar_base_kw-img4549-eps0.00392156862745098"),
}


def measure(device: str) -> dict[str, Any]:
    if "XAI_DATA" not in os.environ:
        return {"skipped": "XAI_DATA is not set"}
    return {**_verification(device), "ResNet-20": _cifar(device)}


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
