"""Whether the same input gives the same outputs: asked twice, alone and in a batch, by one thread and by two."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from xai.data.samples import Sample
from xai.models.model import Model
from xai.reports.records import Finding, Value

IMAGES = 16


def repetition(model: Model, samples: Sequence[Sample]) -> Finding:
    """Return the largest differences of outputs, and how many answers changed."""
    x = torch.stack([sample.input for sample in samples]).to(model.device)
    threads = torch.get_num_threads()
    with torch.no_grad():
        together, again = model(x), model(x)
        alone = torch.cat([model(part) for part in x.split(1)])
        try:
            torch.set_num_threads(1 if threads > 1 else 2)
            other = model(x)
        finally:
            torch.set_num_threads(threads)
    ways = {
        "asked twice": again,
        f"alone and in a batch of {len(x)}": alone,
        "by one thread and by two": other,
    }
    values: dict[str, Value] = {}
    for name, outputs in ways.items():
        values[f"largest difference, {name}"] = Value(
            value=_apart(outputs, together), unit="in the outputs' unit", n=len(x)
        )
    if model.card.output != "values":
        changed = torch.stack([outputs.argmax(1) != together.argmax(1) for outputs in ways.values()]).any(0)
        values["answers that change"] = Value(value=int(changed.sum()), unit="images", n=len(x))
    return Finding(
        id="repetition",
        family="repetition",
        method="repetition",
        title="The same again",
        description="The same images asked twice, alone and in a batch, and with another number of threads: how far "
        "the outputs lie apart.",
        limits="Floating point sums in another order differ in their last digits: that is no fault. Other machines and "
        "libraries were not tried.",
        source="",
        kind="exact",
        input=None,
        status="ok",
        values=values,
    )


def _apart(outputs: torch.Tensor, others: torch.Tensor) -> float | None:
    """Return the largest difference; None where something that is not finite stands on one side alone."""
    same = (outputs == others) | (outputs.isnan() & others.isnan())
    apart = float((outputs - others).abs().masked_fill(same, 0).nan_to_num(nan=math.inf, posinf=math.inf).max())
    return apart if math.isfinite(apart) else None
