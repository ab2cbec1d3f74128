"""One policy, two networks: MNIST LeNet5 as it was trained, and trained against attacks; xai diff tells them apart."""

from __future__ import annotations

import gzip
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import xai
from benchmarks._published import CLEAN, ROBUST, subject
from xai.reports.diff import SIGNIFICANT, compare
from xai.reports.run import Run

IMAGES = 100
REQUIREMENTS = [
    {"id": "ACC", "require": "accuracy >= 90 %"},
    {"id": "ROB", "require": "robust_accuracy(pgd, 0.2) >= 60 %"},
    {"id": "ECE", "require": "ece <= 0.1", "severity": "should"},
]


def measure(device: str) -> dict[str, Any]:
    """Audit both by the same requirements; return their verdicts, and what is mended and newly fails both ways."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        _digits(place)
        clean, robust = (_audited(place, title, device) for title in (CLEAN, ROBUST))
        there, back = compare(clean, robust), compare(robust, clean)
        found = {
            "verdicts": {
                run.record.model.name: {one.id: one.verdict for one in run.requirements} for run in (clean, robust)
            },
            "trained against attacks": {one.id: one.turned for one in there.requirements},
            "and back": {one.id: one.turned for one in back.requirements},
            "paired": {
                f"{one.finding}: {one.name}": [one.lost, one.gained, one.adjusted]
                for one in there.outcomes
                if one.adjusted <= SIGNIFICANT
            },
        }
        if found["trained against attacks"]["ROB"] != "mended" or found["and back"]["ROB"] != "newly failing":
            raise AssertionError(f"the two networks are not told apart: {found}")
        return found


def _audited(place: Path, title: str, device: str) -> Run:
    stem = "clean" if title == CLEAN else "robust"
    xai.export(subject(title, device).model, place / f"{stem}.onnx")
    policy = {
        "model": {"source": place / f"{stem}.onnx", "intended_use": "a comparison"},
        "data": {"test": {"source": place / "digits", "limit": IMAGES}},
        "requirements": REQUIREMENTS,
    }
    return xai.audit(policy, device=device)


def _digits(place: Path) -> None:
    """Unpack the test images beside the networks."""
    folder = place / "digits"
    folder.mkdir()
    for path in (Path(os.environ["XAI_DATA"]) / "vision" / "mnist").glob("t10k-*.gz"):
        with gzip.open(path) as packed, (folder / path.stem).open("wb") as file:
            shutil.copyfileobj(packed, file)
