"""Maps against known objects: every explainer on drawn pictures of `shapes`, whose masks say where the object is.

A hit is a map whose highest place lies on the object (pointing game); mass over area is the share of what speaks for
the class that lies on the object, over the object's share of the picture (1 is chance). The control is a blob in the
centre that knows neither model nor picture: `beats the blob` says whether a method has both, more hits and more mass,
over pictures, with a paired test; one that does not is of no use here, whatever its maps look like. Only pictures that
the model gets right count.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy.stats import binomtest, wilcoxon

from xai.api import load
from xai.engine.plan import missing
from xai.explainers.base import Attributor, explainers
from xai.measures.deletion import centre_blob
from xai.models.model import Model
from xai.models.samples import shapes
from xai.reports.intervals import clopper_pearson
from xai.runtime import Runtime

PICTURES, SEED, SURE = 100, 321, 0.05
PARAMETERS: dict[str, dict[str, Any]] = {
    "lime": {"samples": 500},
    "kernelshap": {"samples": 500},
    "rise": {"samples": 1000},
}
Marks = tuple[np.ndarray, np.ndarray]  # of each picture: hit, and mass over area


def measure(device: str) -> dict[str, Any]:
    model = load("sample:shapes", device=device)
    images, masks, labels = _right(model)
    blob = _marks([centre_blob(*mask.shape) for mask in masks], masks)
    found: dict[str, Any] = {"pictures": len(images), "centre blob": _told(blob)}
    for name, method in explainers.all().items():
        if not issubclass(method, Attributor):
            continue
        one = method.model_validate(PARAMETERS.get(name, {}))
        if reason := missing(one, model):
            found[name] = {"skipped": reason}
            continue
        maps = [_map(one, model, image, int(label), device) for image, label in zip(images, labels, strict=True)]
        marks = _marks(maps, masks)
        found[name] = {**_told(marks), **_against(marks, blob)}
        print(name, found[name], flush=True)
    return found


def _right(model: Model) -> tuple[torch.Tensor, list[np.ndarray], torch.Tensor]:
    drawn = shapes.generate(PICTURES, SEED)
    with torch.no_grad():
        right = model(drawn.images.to(model.device)).argmax(1).cpu() == drawn.labels
    return drawn.images[right], [mask.numpy() for mask in drawn.masks[right]], drawn.labels[right]


def _map(method: Attributor, model: Model, image: torch.Tensor, label: int, device: str) -> np.ndarray:
    runtime = Runtime(device=torch.device(device), seed=SEED)
    (found,) = method.explain(model, image, [model.target(label)], runtime, "")
    return found.arrays["map"]


def _marks(maps: list[np.ndarray], masks: list[np.ndarray]) -> Marks:
    hits, times = [], []
    for raw, mask in zip(maps, masks, strict=True):
        positive = np.clip(raw.astype(np.float64), 0, None)
        highest = raw >= raw.max() - 2.0**-20 * np.abs(raw).max()
        hits.append(mask[highest].mean() >= 0.5)
        times.append(positive[mask].sum() / positive.sum() / mask.mean() if positive.any() else 0.0)
    return np.array(hits), np.array(times)


def _told(marks: Marks) -> dict[str, Any]:
    hits, times = marks
    low, high = clopper_pearson(int(hits.sum()), len(hits))
    return {
        "hits": round(float(hits.mean()), 3),
        "hits, 95 % interval": [round(low, 3), round(high, 3)],
        "mass over area, median": round(float(np.median(times)), 2),
    }


def _against(marks: Marks, blob: Marks) -> dict[str, Any]:
    """Say whether a method has more hits and more mass than the blob, on the same pictures."""
    (hits, times), (other_hits, other_times) = marks, blob
    gained, lost = int((hits & ~other_hits).sum()), int((~hits & other_hits).sum())
    p_hits = binomtest(gained, gained + lost, 0.5, "greater").pvalue if gained + lost else 1.0
    p_mass = wilcoxon(times, other_times, alternative="greater").pvalue
    return {"beats the blob": {"hits": bool(p_hits < SURE), "mass": bool(p_mass < SURE)}}
