"""What an answer costs: time and memory an image."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch

from xai.data.samples import Sample
from xai.models.cost import multiply_adds
from xai.models.model import Model
from xai.reports.records import Finding, Value

ROUNDS = 5


def cost(model: Model, samples: Sequence[Sample]) -> Finding:
    """Return memory and multiply-adds an image; `seconds` are those of one image alone, the median of some."""
    x = samples[0].input[None].to(model.device)
    taken = []
    with torch.no_grad():
        model(x)
        for _ in range(ROUNDS):
            begun = time.perf_counter()
            model(x)
            taken.append(time.perf_counter() - begun)
    values: dict[str, Value] = {}
    if model.graph is not None:
        amounts = {
            "multiply-adds": (sum(multiply_adds(model.graph).values()), "an image"),
            "weights": (model.graph.bytes_of_weights, "bytes"),
            "activations": (model.graph.bytes_per_input, "bytes an image, all at once"),
        }
        values = {name: Value(value=amount, unit=unit) for name, (amount, unit) in amounts.items()}
    return Finding(
        id="cost",
        family="cost",
        method="cost",
        title="What an answer costs",
        description="The time that one image takes when it is asked for alone (the median of some, without the first), "
        "and memory and multiply-adds as the graph tells them.",
        limits="Time is this machine's, while it did what else it did. A runtime that frees activations early needs "
        "less memory.",
        source="",
        kind="exact",
        input=None,
        status="ok",
        values=values,
        seconds=sorted(taken)[ROUNDS // 2],
    )
