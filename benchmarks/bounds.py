"""Widths of bounds beside auto_LiRPA 0.7.1's, measured by others on the same boxes; times beside a matrix product's.

Needs XAI_DATA. Widths are means over the outputs of upper minus lower; a share of 1 is the peer's.
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Any

import torch

import xai
from xai.robustness.bounds.methods.base import bounders
from xai.robustness.bounds.outputs import Bounding
from xai.robustness.bounds.rounding import Arithmetic

MNIST, ACAS, OVAL = "mnist_fc", "acasxu", "oval21_base"
ACAS_NET = "ACASXU_run2a_1_1_batch_2000"
SUBJECTS = {  # folder, network, property; widths of IBP, CROWN and alpha-CROWN with 20 iterations
    "MNIST 256x2, image 0, eps .03": (MNIST, "mnist-net_256x2", "prop_0_0.03", (2.069, 1.276, 0.707)),
    "MNIST 256x2, image 0, eps .05": (MNIST, "mnist-net_256x2", "prop_0_0.05", (2.777, 3.535, 1.319)),
    "MNIST 256x4, image 0, eps .03": (MNIST, "mnist-net_256x4", "prop_0_0.03", (486, 4.161, 1.163)),
    "MNIST 256x4, image 0, eps .05": (MNIST, "mnist-net_256x4", "prop_0_0.05", (1267, 177.6, 95.4)),
    "ACAS 1_1, prop_3": (ACAS, ACAS_NET, "prop_3", (688.9, 1.829, 0.726)),
    "ACAS 1_1, prop_1": (ACAS, ACAS_NET, "prop_1", (8085, 2596, 402)),
    "oval21 base, image 1598": (
        OVAL,
        "cifar_base_kw",
        "cifar_base_kw-img1598-eps0.0026143790849673205",
        (2.247, 0.1681, 0.1666),
    ),
}
METHODS = ("ibp", "crown", "alpha-crown")
BOUND = re.compile(r"\(assert \((<=|>=) X_(\d+) (\S+?)\)\)")


def measure(device: str) -> dict[str, Any]:
    if "XAI_DATA" not in os.environ:
        return {"reason": "XAI_DATA is not set"}
    product = _product(device)
    return {"512 x 512 matrix product, seconds": product, **{name: widths(name, device) for name in SUBJECTS}}


def widths(name: str, device: str) -> dict[str, Any]:
    """Return width, share of the peer's width and seconds of every method and arithmetic."""
    folder, network, wanted, peers = SUBJECTS[name]
    place = Path(os.environ["XAI_DATA"]) / "verification" / folder
    model = xai.load(place / "onnx" / f"{network}.onnx", device=device)
    lower, upper = box(place / "vnnlib" / f"{wanted}.vnnlib", model.input.shape)
    found = {}
    for method, peer in zip(METHODS, peers, strict=True):
        for arithmetic in Arithmetic:
            bounding = Bounding(model, bounders.get(method)(), arithmetic)
            region = bounding.box(lower, upper)
            _ = bounding.program
            begun = time.perf_counter()
            width = float(bounding.outputs(region).width.mean())
            seconds = time.perf_counter() - begun
            own = {"width": width, "of the peer's": width / peer, "seconds": seconds}
            found[f"{method}, {arithmetic}"] = own
    return found


def box(path: Path, shape: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the lowest and highest input (1, ...) float64 of a VNN-LIB file with one box."""
    ends: dict[str, dict[int, float]] = {"<=": {}, ">=": {}}
    for sign, number, value in BOUND.findall(path.read_text()):
        ends[sign][int(number)] = float(value)
    lower, upper = (
        torch.tensor([ends[sign][i] for i in range(len(ends[sign]))], dtype=torch.float64).reshape(1, *shape)
        for sign in (">=", "<=")
    )
    return lower, upper


def _product(device: str) -> float:
    one = torch.rand(512, 512, device=device)
    begun = time.perf_counter()
    for _ in range(20):
        one @ one
    return (time.perf_counter() - begun) / 20
