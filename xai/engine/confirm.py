"""Adversarial inputs are looked at again as they were stored: nothing is believed because an attack said so."""

from __future__ import annotations

import io
import logging
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from xai.engine.threat import AttackPlan
from xai.errors import XaiError
from xai.models.model import Model
from xai.models.onnx.reading import read
from xai.models.onnx.runtime import Runner
from xai.models.writing import write
from xai.robustness.search import Case
from xai.robustness.victim import Victim

log = logging.getLogger(__name__)

LEVELS = 255  # of an 8-bit picture
_OTHER_BATCH = 7  # no power of two, so that kernels are chosen and summed otherwise


@dataclass(frozen=True)
class Witness:
    """Another program that runs the same network.

    Args:
        name: of it, "" if there is none.
        run: (n, ...) in input units -> (n, classes) outputs.
        reason: why there is none.
        rest: ends what it keeps running.
    """

    name: str
    run: Callable[[torch.Tensor], torch.Tensor] | None
    reason: str = ""
    rest: Callable[[], None] = lambda: None


def witness(model: Model) -> Witness:
    """Return the file itself in onnxruntime, where the model was read from ONNX or can be written so."""
    if model.draws:
        return Witness("", None, "the model draws random numbers: another program draws others")
    if model.original is not None:
        return Witness(f"{model.original.name} on the file itself", model.original.forward, rest=model.original.rest)
    if model.graph is None:
        return Witness("", None, f"the model is a black box: {model.no_graph}")
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            write(model, path)
            run = Runner(read(path))
            return Witness("onnxruntime", run, rest=run.rest)
    except XaiError as error:
        return Witness("", None, str(error))
    except Exception as error:
        log.debug("no ONNX of the model", exc_info=True)
        return Witness("", None, f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")


@dataclass(frozen=True)
class Confirmed:
    """What stored points are when they are looked at again, a row each.

    Args:
        answers: (n,) the class that the model gives.
        reasons: why a point does not count, "" where it does.
        rounded: what 8-bit rounding leaves of it: "stands", "falls" or "leaves the region"; "" where none is known.
    """

    answers: list[int]
    reasons: list[str]
    rounded: list[str]


def confirm(
    model: Model, case: Case, points: np.ndarray, plan: AttackPlan, epsilons: np.ndarray, other: Witness
) -> Confirmed:
    """Read stored points again and judge them as anyone would who gets the file.

    Args:
        model: that they fool.
        case: what they were made from.
        points: (n, ...) float32.
        plan: the threat model.
        epsilons: (n,) the size of the region that each is claimed to lie in; infinite for a smallest change.
        other: another program that runs the network.
    """
    stored = torch.from_numpy(_reread(points)).to(model.device)
    scores = _scores(model, stored)
    inside = torch.stack(
        [
            plan.region(model, float(epsilon)).holds(x[None], point[None])[0]
            for epsilon, x, point in zip(epsilons, case.x, stored, strict=True)
        ]
    )
    fooled = case.reached(scores)
    reasons = np.where(inside.cpu(), "", "it lies outside of the region").astype(object)
    reasons[~fooled.cpu().numpy()] = "the model gives the right answer in another batch size"
    if other.run is not None:
        try:
            seen = case.reached(as_scores(model, other.run(stored.cpu())).to(model.device))
        except (XaiError, ValueError) as error:
            reasons[reasons == ""] = f"{other.name} failed: {error}"
        else:
            reasons[(seen != fooled).cpu().numpy() & (reasons == "")] = f"{other.name} gives the right answer"
    return Confirmed(scores.argmax(1).tolist(), reasons.tolist(), _rounded(model, case, stored, plan, epsilons))


def _reread(points: np.ndarray) -> np.ndarray:
    buffer = io.BytesIO()
    np.save(buffer, points, allow_pickle=False)
    buffer.seek(0)
    read_back: np.ndarray = np.load(buffer, allow_pickle=False)
    return read_back


def _scores(model: Model, x: torch.Tensor) -> torch.Tensor:
    victim = Victim(model)
    with torch.no_grad():
        return torch.cat([victim.scores(part) for part in x.split(_OTHER_BATCH)])


def as_scores(model: Model, outputs: torch.Tensor) -> torch.Tensor:
    """Return another program's outputs as scores, as a Victim does with the model's."""
    return Victim(replace(model, forward=lambda _: outputs, graph=None)).scores(outputs)


def _rounded(model: Model, case: Case, stored: torch.Tensor, plan: AttackPlan, epsilons: np.ndarray) -> list[str]:
    """Say what becomes of points when they are saved as 8-bit pictures."""
    if not model.input.is_picture or model.input.range is None:
        return [""] * len(stored)
    low, high = model.input.range
    levels = ((stored.double() - low) / (high - low) * LEVELS).round()
    rounded = (levels / LEVELS * (high - low) + low).to(stored.dtype)
    fooled = case.reached(_scores(model, rounded)).tolist()
    spacing = torch.finfo(torch.float32).eps * max(abs(low), abs(high))  # a step of 1/255 is told no better in float32
    inside = plan.region(model, 0).distance(case.x, rounded).cpu().numpy() <= epsilons * (1 + 1e-6) + spacing
    return [
        "falls" if not wrong else "stands" if near else "leaves the region"
        for wrong, near in zip(fooled, inside, strict=True)
    ]
