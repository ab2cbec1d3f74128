"""Robust training: what is left under AutoAttack, and what bounds certify, on digits and on shapes; ten minutes each.

MNIST is the public test set, 8,000 images to train on and 2,000 held out. The figures of a row are those of the written
model on the held-out images: `robust` by `xai train --attack-plan standard`, `certified` by interval bounds.
"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from xai.reports.folder import open_run

LIMIT = 600.0  # seconds of training
TRAINED, HELD = 8000, 2000
NETS = Path(__file__).with_name("_nets.py")
DIGITS, SHAPES = [f"{NETS}:small"], [f"{NETS}:contrast"]
SLOWLY = ["--batch", "64", "--lr", "0.003", "--set", "adversarial.steps=4"]
ROWS: dict[
    str, tuple[str, float, list[str]]
] = {  # what shapes' wishes ask is out of reach, so the sizes at which they are met or nearly so stand beside them
    "mnist, adversarial at 0.2": ("mnist", 0.8, ["adversarial", "0.2", "--epochs", "60"]),
    "mnist, certified at 0.1": ("mnist", 0.85, ["certified", "0.1", "--epochs", "60"]),
    "shapes, adversarial at 0.2": (
        "shapes",
        0.8,
        ["adversarial", "0.2", "--epochs", "14", *SLOWLY, "--set", "adversarial.ramp=0.9"],
    ),
    "shapes, adversarial at 0.03": (
        "shapes",
        0.8,
        ["adversarial", "0.03", "--epochs", "24", *SLOWLY, "--set", "adversarial.ramp=0.5"],
    ),
    "shapes, certified at 0.1": ("shapes", 0.85, ["certified", "0.1", "--epochs", "10", "--batch", "64"]),
    "shapes, certified at 0.01": ("shapes", 0.85, ["certified", "0.01", "--epochs", "20", "--batch", "64"]),
}


def measure(device: str) -> dict[str, Any]:
    """Train each; return accuracy, what is left of it, the plain parent's, seconds, and whether the wish is met."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        _digits(place)
        (place / "mnist.yaml").write_text("input: {shape: [1, 28, 28], mean: 0, std: 1}\n")
        (place / "shapes.yaml").write_text("input: {shape: [3, 64, 64], mean: 0, std: 1}\n")
        plain = {data: _plain(place, data, device) for data in ("mnist", "shapes")}
        return {"rows": {title: _row(place, title, plain, device) for title in ROWS}}


def _row(place: Path, title: str, plain: dict[str, Path], device: str) -> dict[str, Any]:
    data, wish, (objective, eps, *options) = ROWS[title]
    folder = place / title.replace(", ", "-").replace(" ", "-")
    attacks = [] if objective == "certified" else ["--attack-plan", "standard"]
    seconds = _xai(place, data, folder, device, "--objective", objective, "--eps", eps, *attacks, *options)
    found = _figures(folder, objective, eps)
    parent = _figures(plain[data], "adversarial", eps) if data == "mnist" and eps == "0.2" else {}
    return {
        **found,
        "wish": wish,
        "met": found["kept"] >= wish and found["training seconds"] <= LIMIT,
        "seconds in all": seconds,
        **({"plainly trained, robust": parent["kept"]} if parent else {}),
    }


def _plain(place: Path, data: str, device: str) -> Path:
    folder = place / f"{data}-plain"
    eps = "0.2"
    _xai(place, data, folder, device, "--eps", eps, "--epochs", "10")
    return folder


def _xai(place: Path, data: str, folder: Path, device: str, *options: str) -> float:
    nets, sources = (DIGITS, [str(place / "train.npz"), "--held", str(place / "held.npz")])
    if data == "shapes":
        nets, sources = (SHAPES, ["sample:shapes:0-6000", "--held", "sample:shapes:10000-10300"])
    begun = time.perf_counter()
    command = [sys.executable, "-m", "xai.cli", "train", *nets, *sources, "--card", str(place / f"{data}.yaml")]
    subprocess.run([*command, *options, "--device", device, "-o", str(folder)], check=True)
    return time.perf_counter() - begun


def _figures(folder: Path, objective: str, eps: str) -> dict[str, Any]:
    run = open_run(folder)
    values = {name: value for finding in run.findings[:2] for name, value in finding.values.items()}
    bounded = next((one for one in run.findings if one.family == "bounds"), None)
    name = f"certified accuracy at {eps}" if objective == "certified" else f"robust accuracy at {eps}"
    kept = (bounded.values if bounded else values)[name]
    return {
        "accuracy": values["accuracy"].value,
        "what": name,
        "kept": kept.value,
        "interval": kept.interval,
        "images": kept.n,
        "training seconds": sum(row["seconds"] for row in _epochs(folder)),
    }


def _epochs(folder: Path) -> list[dict[str, Any]]:
    artefact = open_run(folder).findings[0].artefacts["epochs"]
    return [json.loads(line) for line in (folder / artefact.path).read_text().splitlines()]


def _digits(place: Path) -> None:
    """Write the two parts of the digits."""
    folder = Path(os.environ["XAI_DATA"]) / "vision" / "mnist"
    images, labels = (
        np.frombuffer(gzip.decompress((folder / f"t10k-{name}-ubyte.gz").read_bytes()), np.uint8, offset=skip)
        for name, skip in (("images-idx3", 16), ("labels-idx1", 8))
    )
    x, order = images.reshape(-1, 28, 28), np.random.default_rng(0).permutation(TRAINED + HELD)
    for name, part in (("train", order[:TRAINED]), ("held", order[TRAINED:])):
        np.savez_compressed(place / f"{name}.npz", x=x[part], y=labels[part].astype(np.int64))
