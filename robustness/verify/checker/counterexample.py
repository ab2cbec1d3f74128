"""Asks the network again about a stored counterexample: by the file's own program where there is one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch

from xai.models.model import Model
from xai.robustness.verify.property import Case, Property

AsWritten = Callable[[Iterable[float], Iterable[float]], bool]


@dataclass(frozen=True)
class Replayed:
    """What became of a counterexample.

    Args:
        confirmed: whether the input lies in a case's region and its output satisfies all of the case's rows.
        by: what ran the network.
        outputs: (outputs,) of it.
        case: the name of the case that was met, "" if none was.
        reason: why it is not confirmed, "" where it is.
    """

    confirmed: bool
    by: str
    outputs: torch.Tensor
    case: str = ""
    reason: str = ""


@torch.no_grad()
def replay(model: Model, x: torch.Tensor, wanted: Property, as_written: AsWritten | None = None) -> Replayed:
    """Say whether an input is a counterexample, in exact arithmetic from the network's own outputs on.

    Args:
        model: the network; of an ONNX file, onnxruntime is asked.
        x: (...) float32, the input.
        wanted: the property.
        as_written: says of an input (inputs,) and its output (outputs,) whether they are a counterexample in the words
            of the property's own file, where that is more exact than the property's float64 numbers.
    """
    forward = model.original.forward if model.original else model.forward
    by = model.original.name if model.original else "the model"
    outputs = forward(x[None].to(model.device))[0].detach().cpu().flatten()
    if not bool(outputs.isfinite().all()):
        return Replayed(False, by, outputs, reason="an output is no finite number")
    point = x.detach().cpu()
    inside = [case for case in wanted.cases if _contains(case, point)]
    met = [case for case in inside if _violates(case, outputs)]
    if not inside:
        return Replayed(False, by, outputs, reason="the input lies in no region of the property")
    if not met:
        return Replayed(False, by, outputs, reason=f"its outputs as {by} computes them do not violate the property")
    if as_written is not None and not as_written(point.flatten().tolist(), outputs.tolist()):
        return Replayed(False, by, outputs, met[0].name, "it is none in the words of the property's own file")
    return Replayed(True, by, outputs, met[0].name)


def _contains(case: Case, x: torch.Tensor) -> bool:
    region, numbers = case.region, _exact(x)
    ends = zip(numbers, _exact(region.box.lower), _exact(region.box.upper), strict=True)
    if not all(low <= number <= high for number, low, high in ends):
        return False
    if region.is_box or region.radius is None:
        return True
    moved = [abs(number - centre) for number, centre in zip(numbers, _exact(region.centre), strict=True)]
    (radius,) = _exact(region.radius)
    return sum(moved) <= radius if str(region.norm) == "l1" else sum(one * one for one in moved) <= radius * radius


def _violates(case: Case, outputs: torch.Tensor) -> bool:
    numbers = _exact(outputs)
    for row, limit in zip(case.matrix, _exact(case.limits), strict=True):
        if sum(factor * number for factor, number in zip(_exact(row), numbers, strict=True)) > limit:
            return False
    return True


def _exact(tensor: Any) -> list[Fraction]:
    return [Fraction(number) for number in tensor.detach().cpu().double().flatten().tolist()]
