"""Randomised smoothing of a published network: certified accuracy of the first 100 images of the MNIST test set.

Needs XAI_DATA. Noise of .25, 100 draws that select and 1000 that estimate, alpha .001: others measured 96 % certified
at .25 and 84 % at .5, with a ceiling of .616. Radii are estimates, so the whole is repeated with other noise: a share
is given for each seed, and its interval, over images, for the first. Time stands beside that of forward passes alone.
"""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np
import torch

from benchmarks._published import CLEAN, Subject, since, subject
from xai.reports.intervals import clopper_pearson
from xai.robustness.smoothing.certify import ABSTAINED, Certificates, certify
from xai.robustness.smoothing.draws import LARGEST_BATCH
from xai.robustness.smoothing.plan import Smoothing
from xai.runtime import Runtime

IMAGES, SEEDS = 100, 5
MEASURED = {0.25: 0.96, 0.5: 0.84}  # certified accuracy by radius, by others
PLAN = Smoothing(sigma=0.25, n0=100, n=1000, alpha=0.001)


def measure(device: str) -> dict[str, Any]:
    if "XAI_DATA" not in os.environ:
        return {"reason": "XAI_DATA is not set"}
    digits = subject(CLEAN, device).first(IMAGES)
    begun = time.perf_counter()
    runs = [_certified(digits, seed) for seed in range(SEEDS)]
    return {
        "network": CLEAN,
        "images": IMAGES,
        "sigma": PLAN.sigma,
        "draws": [PLAN.n0, PLAN.n],
        "alpha": PLAN.alpha,
        "ceiling": round(PLAN.ceiling, 4),
        "abstained, by seed": [int((run.predicted == ABSTAINED).sum()) for run in runs],
        "median radius, by seed": [round(float(np.median(run.radius)), 4) for run in runs],
        **{f"certified at {radius}": _share(runs, digits, radius, other) for radius, other in MEASURED.items()},
        "seconds for 100 images": round((time.perf_counter() - begun) / SEEDS, 2),
        "seconds of forward passes alone": _passes(digits),
    }


def _certified(digits: Subject, seed: int) -> Certificates:
    runtime = Runtime(device=digits.model.device, seed=seed)
    return certify(digits.model, digits.x.to(runtime.device), PLAN, runtime, [str(i) for i in range(IMAGES)])


def _share(runs: list[Certificates], digits: Subject, radius: float, other: float) -> dict[str, Any]:
    counts = [int(run.certified(digits.y.numpy(), radius).sum()) for run in runs]
    interval = [round(end, 4) for end in clopper_pearson(counts[0], IMAGES)]
    return {"by seed": [count / IMAGES for count in counts], "interval": interval, "measured by others": other}


def _passes(digits: Subject) -> float:
    """Return the seconds of as many forward passes in batches as large, scaled from a tenth of them."""
    batch = digits.x[:1].expand(LARGEST_BATCH, *digits.x.shape[1:]).contiguous().to(digits.model.device)
    every = IMAGES * (PLAN.n0 + PLAN.n) / LARGEST_BATCH
    begun = time.perf_counter()
    with torch.no_grad():
        for _ in range(round(every / 10)):
            digits.model(batch).argmax(1).tolist()
    return round(since(begun) * every / round(every / 10), 2)
