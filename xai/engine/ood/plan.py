"""What is asked of a fit, checked before anything is computed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from xai.engine.choice import Parameters, check_names, defaults, made, named
from xai.errors import NotApplicableError, UsageError
from xai.models.model import Model
from xai.robustness.ood.calibration import KEEP
from xai.robustness.ood.detectors.base import Detector, detectors
from xai.robustness.ood.features import Reader

HOLDOUT, GALLERY = 0.2, 200


class Way(StrEnum):
    """How a threshold is found."""

    KEEP = "keep rate"
    FALSE_POSITIVES = "false-positive rate"
    SPLIT = "best split"


@dataclass(frozen=True)
class FitPlan:
    """What is asked.

    Args:
        model: that detectors are fitted to.
        detectors: with their parameters.
        layers: names of those that are looked at; none: chosen from the graph.
        holdout: share of the images that is held back for the thresholds.
        way: how thresholds are found.
        keep: the wanted share of in-distribution images that is kept.
        rate: the wanted share of known outliers that passes, where that finds the thresholds.
        choose: whether known outliers choose the members of the combinations.
        gallery: how many held-back images are remembered, to be shown beside new ones.
    """

    model: Model
    detectors: tuple[Detector, ...]
    layers: tuple[str, ...]
    holdout: float
    way: Way
    keep: float
    rate: float
    choose: bool
    gallery: int

    @property
    def reader(self) -> Reader:
        """What looks at the model."""
        return Reader(self.model, self.layers)

    def described(self) -> dict[str, Any]:
        """Return the plan as data: the same plan, the same data."""
        return {
            "detectors": {one.about.name: one.model_dump(mode="json") for one in self.detectors},
            "layers": self.layers,
            "holdout": self.holdout,
            "threshold": [self.way.value, self.keep, self.rate],
            "choose": self.choose,
            "gallery": self.gallery,
        }


def plan_fit(
    model: Model,
    methods: Iterable[str] | None = None,
    *,
    layers: Iterable[str] | None = None,
    holdout: float = HOLDOUT,
    keep: float | None = None,
    rate: float | None = None,
    split: bool = False,
    choose: bool = False,
    outliers: bool = False,
    gallery: int = GALLERY,
    parameters: Parameters | None = None,
) -> FitPlan:
    """Return the plan; raise UsageError for any name or value that does not exist or fit.

    Args:
        model: that detectors are fitted to.
        methods: names of detectors, or "all"; default those that declare themselves default.
        layers: names; default those that the graph offers.
        holdout: share of the images that is held back.
        keep: share of in-distribution images that thresholds keep; default 0.95.
        rate: share of known outliers that thresholds let pass, instead.
        split: whether thresholds split known outliers from in-distribution images best, instead.
        choose: whether known outliers choose the members of the combinations.
        outliers: whether known outliers are given.
        gallery: how many held-back images are remembered.
        parameters: of the detectors, by name.
    """
    _check(holdout=holdout, keep=keep, rate=rate)
    if gallery < 0:
        raise UsageError(f"expected 0 or more pictures to be remembered, received {gallery}")
    asked = {"--keep": keep is not None, "--fpr": rate is not None, "--best-split": split}
    if sum(asked.values()) > 1:
        raise UsageError(f"{' and '.join(name for name, given in asked.items() if given)} were given: name one of them")
    _check_outliers({"--fpr": rate is not None, "--best-split": split, "--choose": choose}, outliers)
    chosen = defaults(detectors) if methods is None else named(detectors, methods)
    if not chosen:
        raise UsageError("no detector was named; see xai methods")
    given = dict(parameters or {})
    check_names("detector", given, chosen, detectors.all())
    plan = FitPlan(
        model=model,
        detectors=tuple(made(cls, given.get(cls.about.name, {})) for cls in chosen),
        layers=tuple(layers or ()),
        holdout=holdout,
        way=Way.SPLIT if split else Way.KEEP if rate is None else Way.FALSE_POSITIVES,
        keep=KEEP if keep is None else keep,
        rate=1 - KEEP if rate is None else rate,
        choose=choose,
        gallery=gallery,
    )
    _ = plan.reader  # it refuses layers that do not exist
    return plan


def hindrance(detector: Detector, model: Model) -> str:
    """Return why a detector cannot be fitted to a model, or ""."""
    try:
        Reader(model).check(detector.reads)
    except NotApplicableError as error:
        return str(error)
    return ""


def _check(**shares: float | None) -> None:
    for name, share in shares.items():
        if share is not None and not 0 < share < 1:
            raise UsageError(f"{name}: expected a share above 0 and below 1, received {share:g}")


def _check_outliers(asked: dict[str, bool], outliers: bool) -> None:
    wanting = [name for name, given in asked.items() if given]
    if wanting and not outliers:
        raise UsageError(f"{wanting[0]} needs known outliers; name them with --ood NAME=DATA")
    if outliers and not wanting:
        raise UsageError(
            "known outliers were given, and nothing to do with them; give --fpr or --best-split for the thresholds, or "
            "--choose for the members of the combined verdict"
        )
