"""Verification problems with known verdicts: how many are decided, in what time, and that none is decided wrongly.

With XAI_DATA alone. Every problem whose verdict is known is given the competition's own timeout, or XAI_VERIFY_SECONDS
where that is less; two at once, each on one core, where there are two.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from xai.engine.instances import Asked, Solved, solve
from xai.engine.sweep import cores
from xai.robustness.verify.instances import read_instances

FOLDERS = ("acasxu", "mnist_fc", "mnist_conv_avgpool", "cifar10_resnet2b", "oval21_base")
FLOORS = {"acasxu": 108, "mnist_fc": 40, "mnist_conv_avgpool": 38, "cifar10_resnet2b": 7, "oval21_base": 3}


def measure(device: str) -> dict[str, Any]:
    if "XAI_DATA" not in os.environ:
        return {"skipped": "XAI_DATA is not set"}
    return {folder: _folder(Path(os.environ["XAI_DATA"]) / "verification" / folder, device) for folder in FOLDERS}


def _folder(place: Path, device: str) -> dict[str, Any]:
    most = float(os.environ.get("XAI_VERIFY_SECONDS", "inf"))
    known = [one for one in read_instances(place / "instances.csv") if one.expected in ("sat", "unsat")]
    given = [replace(one, timeout=min(most, one.timeout or most)) for one in known]
    found = solve(given, Asked(device=device), jobs=min(2, cores()), threads=1, tell=_told)
    right = [one for one in found if one.word == one.expected]
    return {
        "problems": len(found),
        "decided": len(right),
        "floor": FLOORS[place.name],
        "wrong": sum(one.is_wrong for one in found),
        "by": dict(Counter(one.by for one in right)),
        "timeouts, seconds": sorted({one.timeout for one in given}),
        "seconds of those decided": round(sum(one.seconds for one in right), 1),
        "each": {f"{one.onnx} {one.vnnlib}": [one.word, one.seconds, one.parts, one.by] for one in found},
    }


def _told(solved: Solved, done: int) -> None:
    print(f"{done}: {solved.onnx} {solved.vnnlib}: {solved.word} {solved.seconds:.1f} s {solved.told}", file=sys.stderr)
