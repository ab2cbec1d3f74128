"""Both ways to bound what a model can answer, by proof and by statistics, behind one door."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from xai.data.dataset import DataSet
from xai.engine.bounds import bounds
from xai.engine.choice import Parameters
from xai.engine.enclosure import SMOOTHING, BoundsPlan, plan_bounds
from xai.engine.smoothed import SmoothingPlan, plan_smoothing, smooth
from xai.errors import UsageError
from xai.models.model import Model
from xai.reports.run import Run

REAL, LINF = "real", "linf"


def plan_certifying(
    model: Model,
    epsilons: Iterable[str | float] | None = None,
    *,
    norm: str | None = None,
    method: str | None = None,
    arithmetic: str | None = None,
    layer: str | None = None,
    attack: str | None = None,
    parameters: Parameters | None = None,
    largest: bool = False,
    sigma: float | None = None,
    draws: int | None = None,
    n0: int | None = None,
    alpha: float | None = None,
) -> BoundsPlan | SmoothingPlan:
    """Return the plan of a method, for which see `plan_bounds` and `plan_smoothing`.

    Raises:
        UsageError: a name or value does not exist or fit, or is of no use to the method.
    """
    noise = {"sigma": sigma, "draws": draws, "n0": n0, "alpha": alpha}
    if method == SMOOTHING:
        proof = {"arithmetic": arithmetic, "layer": layer, "attack-plan": attack, "set": parameters or None}
        _refuse({**proof, "largest": largest or None}, "smoothing draws noise")
        return plan_smoothing(model, epsilons, norm=norm, sigma=sigma, draws=draws, n0=n0, alpha=alpha)
    _refuse(noise, f"noise is drawn by --method {SMOOTHING} alone")
    return plan_bounds(
        model,
        epsilons,
        norm=norm or LINF,
        method=method,
        arithmetic=arithmetic or REAL,
        layer=layer,
        attack=attack,
        parameters=parameters,
        largest=largest,
    )


def certify(data: DataSet, plan: BoundsPlan | SmoothingPlan, **options: Any) -> Run:
    """Run a plan over a data set; for the options see `bounds` and `smooth`, which share them."""
    return smooth(data, plan, **options) if isinstance(plan, SmoothingPlan) else bounds(data, plan, **options)


def _refuse(given: dict[str, Any], reason: str) -> None:
    for name, value in given.items():
        if value is not None:
            raise UsageError(f"--{name} was given, and {reason}; leave it out")
