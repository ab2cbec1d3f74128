"""Bounds of large networks: time and peak memory beside the network's own forward pass, or why there are none.

Random weights, one picture of random pixels, eps 1/255; each case in a process of its own, as memory is measured.
CROWN-IBP of ViT-tiny is left out: it runs, but takes more than twenty minutes and 8 GB.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

import xai
from xai.errors import XaiError
from xai.models.model import Model
from xai.robustness.bounds.methods.base import bounders
from xai.robustness.bounds.outputs import Bounding
from xai.robustness.norms import Norm

REPEATS = 7
ENOUGH = 30.0  # seconds, after which nothing is repeated
IMAGENET = {"torchvision:resnet18": ("ibp", "crown"), "timm:vit_tiny_patch16_224": ("ibp", "crown")}


def measure(device: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, methods in IMAGENET.items():
        plain = _alone(name, "", device)
        cases = {method: _beside(plain, _alone(name, method, device)) for method in methods}
        found[f"{name}, 224 px"] = {"forward": plain, **cases}
    return found


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


if __name__ == "__main__":
    print(json.dumps(_case(*sys.argv[1:])))
