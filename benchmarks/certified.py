"""Certified error of a network trained to be certified, by CROWN, beside the published figure (Wong and Kolter 2018).

Needs XAI_DATA. XAI_BENCHMARK_IMAGES takes fewer of the 10 000 test images.
"""

from __future__ import annotations

import os
import time
from typing import Any

import torch

from benchmarks._published import CONVEX, since, subject
from xai.robustness.bounds.methods.base import bounders
from xai.robustness.bounds.outputs import Bounding
from xai.robustness.bounds.rounding import Arithmetic
from xai.robustness.norms import Norm

EPSILON = 0.1
BATCH = 50


def measure(device: str) -> dict[str, Any]:
    if "XAI_DATA" not in os.environ:
        return {"reason": "XAI_DATA is not set"}
    own = subject(CONVEX, device).first(int(os.environ.get("XAI_BENCHMARK_IMAGES", "10000")))
    found: dict[str, Any] = {"images": len(own.x), "eps": EPSILON, "published certified error, at most": 0.058}
    for arithmetic in Arithmetic:
        bounding = Bounding(own.model, bounders.get("crown")(), arithmetic)
        begun = time.perf_counter()
        certified = [
            bounding.certified(bounding.inputs(x, Norm.LINF, EPSILON), y)
            for x, y in zip(own.x.split(BATCH), own.y.split(BATCH), strict=True)
        ]
        error = 1 - float(torch.cat(certified).double().mean())
        found[f"crown, {arithmetic}"] = {"certified error": round(error, 4), "seconds": since(begun)}
    return found
