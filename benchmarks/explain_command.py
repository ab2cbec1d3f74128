"""The whole command on ResNet-18 at 224 px: time and peak memory, beside the forwards it needs times one forward.

The limit is what the work costs at least: a forward for the prediction, one for occlusion's reference, one a window,
and a forward and a backward pass for Grad-CAM (counted as three forwards). The rest is ours: start, export, page.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from xai.models.torchvision_import import torchvision_models

REPEATS = 3
MODEL = "torchvision:resnet18(weights=None)"
MAPS_ALONE = ("--measures", "none")
RUN = """
import sys, time
begun = time.perf_counter()
from xai.cli.main import run
code = run(sys.argv[1:])
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))  # a child's
print(code, time.perf_counter() - begun, peak, file=sys.stderr)  # ru_maxrss would begin at its parent's
"""


def measure(device: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "picture.png"
        pixels = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(picture)
        runs = [_command(picture, Path(folder) / f"run{index}", device, *MAPS_ALONE) for index in range(REPEATS)]
        judged = _command(picture, Path(folder) / "judged", device)
        record = json.loads((Path(folder) / "run0" / "record.json").read_text())
    windows = next(f["values"]["windows"]["value"] for f in record["findings"] if "windows" in f["values"])
    batch = next(f["parameters"]["batch"] for f in record["findings"] if "batch" in f["parameters"])
    forwards = windows + 1 + 1 + 3
    single, batched = _forward(1, device), _forward(batch, device)
    limit = (forwards - windows) * single + windows * batched
    seconds = statistics.median(run["seconds"] for run in runs)
    analysis = record["seconds"]
    by_method = {f["method"]: round(f["seconds"], 3) for f in record["findings"]}
    return {
        "command_seconds": round(seconds, 2),
        "analysis_seconds": round(analysis, 2),
        "by_method_seconds": by_method,
        "forwards_needed": forwards,
        "batch": batch,
        "one_forward_seconds": {"batch 1": round(single, 4), f"batch {batch}, an image": round(batched, 4)},
        "limit_seconds": round(limit, 2),
        "analysis_over_limit": round(analysis / limit, 2),
        "command_over_limit": round(seconds / limit, 2),
        "command_with_the_default_measures_seconds": round(judged["seconds"], 2),
        "outside_the_analysis_seconds": round(seconds - analysis, 2),
        "import_torch_and_forward_once_seconds": round(_floor(), 2),
        "peak_memory_mib": max(run["peak_mib"] for run in runs),
        "peak_memory_of_one_forward_mib": _floor_memory(),
    }


def _command(picture: Path, folder: Path, device: str, *more: str) -> dict[str, float]:
    arguments = ["explain", MODEL, str(picture), "-o", str(folder), "--device", device, *more]
    done = subprocess.run([sys.executable, "-c", RUN, *arguments], capture_output=True, text=True, check=True)
    code, seconds, peak = done.stderr.splitlines()[-1].split()
    assert code == "0", done.stderr
    return {"seconds": float(seconds), "peak_mib": int(peak) // 1024}


def _forward(batch: int, device: str) -> float:
    """Return seconds an image of the plain module, the best of several."""
    network = torchvision_models().resnet18(weights=None).eval().to(device)
    x = torch.rand(batch, 3, 224, 224, device=device)

    def once() -> None:
        with torch.no_grad():
            network(x)
        if device == "cuda":
            torch.cuda.synchronize()

    once()
    return min(_timed(once) for _ in range(5)) / batch


FLOOR = """
import time
begun = time.perf_counter()
from xai.models.torchvision_import import torchvision_models
import torch
network = torchvision_models().resnet18(weights=None).eval()
with torch.no_grad():
    network(torch.rand(1, 3, 224, 224))
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(time.perf_counter() - begun, peak)
"""


def _floor() -> float:
    return min(float(_run_floor()[0]) for _ in range(REPEATS))


def _floor_memory() -> int:
    return int(_run_floor()[1]) // 1024


def _run_floor() -> list[str]:
    return subprocess.run([sys.executable, "-c", FLOOR], capture_output=True, text=True, check=True).stdout.split()


def _timed(function: Callable[[], None]) -> float:
    begun = time.perf_counter()
    function()
    return time.perf_counter() - begun
