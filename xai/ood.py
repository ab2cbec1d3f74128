"""Does a model know what it does not know? Detectors of images that are unlike those it was made for.

    fitted = xai.ood.fit(model, "train/")                   # a share is held back and gives the thresholds
    fitted.save("detector")
    xai.ood.score(model, "detector", "new/")["score"].rows  # a row an image: verdict, score, p-value
    xai.ood.evaluate(model, "detector", "test/", {"letters": "letters/"})

A higher score is more out-of-distribution, everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from xai.data.dataset import open_data
from xai.engine.calls import call_of, check_least, check_model, names_of
from xai.engine.choice import Parameters
from xai.engine.ood.detector import open_detector
from xai.engine.ood.evaluate import ROUNDS, Nearness, gathered, probes_named
from xai.engine.ood.evaluate import evaluate as run_evaluate
from xai.engine.ood.fit import fit as run_fit
from xai.engine.ood.plan import GALLERY, HOLDOUT, plan_fit
from xai.engine.ood.score import EXAMPLES
from xai.engine.ood.score import score as run_score
from xai.models.model import Model
from xai.reports.run import Run
from xai.runtime import Progress, Runtime, silent

__all__ = ["evaluate", "fit", "score"]


def fit(
    model: Model,
    data: Any,
    *,
    methods: str | Iterable[str] | None = None,
    layers: str | Iterable[str] | None = None,
    holdout: float = HOLDOUT,
    keep: float | None = None,
    outliers: Mapping[str, Any] | None = None,
    fpr: float | None = None,
    best_split: bool = False,
    choose: bool = False,
    gallery: int = GALLERY,
    labels: str | Path | None = None,
    limit: int | None = None,
    parameters: Parameters | None = None,
    jobs: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Run:
    """Fit detectors to a model, and calibrate them on a share of the images that is held back.

    Args:
        model: from `xai.load`.
        data: in-distribution images, as for `xai.attack`; with labels the model's accuracy on them is checked first.
        methods: names of detectors (see `xai methods`), or "all"; default those that are marked there.
        layers: names of the layers that are looked at; default the last map of every resolution, and the features.
        holdout: share of the images that is held back.
        keep: share of images like those held back that thresholds keep; default 0.95.
        outliers: known ones by name, for one of the next three.
        fpr: share of known outliers that thresholds let pass, instead of `keep`.
        best_split: whether thresholds split known outliers from in-distribution images best, instead of `keep`.
        choose: whether known outliers choose the members of the combined verdict.
        gallery: how many held-back images are remembered, as small pictures, to be shown beside new ones.
        labels: file with a label each, for arrays that do not bring them.
        limit: take only so many images.
        parameters: of the detectors, by name: {"knn": {"k": 5}}.
        jobs: shards at once; default one a core. The answer does not depend on it.
        seed: of everything random.
        progress: called with (stage, done, total).

    Returns:
        The run, which `score` and `evaluate` take as it is or from the folder where run.save wrote it.

    Raises:
        xai.errors.UsageError: a name or value does not exist or fit, or too few images were held back.
        xai.errors.AnalysisError: nothing can be learnt of these images, or no detector applies to the model.
        xai.errors.RefusedFileError: no image could be read.
    """
    check_model(model)
    check_least(1, jobs=jobs, limit=limit)
    check_least(0, seed=seed)
    names, places = names_of(methods), names_of(layers)
    plan = plan_fit(
        model,
        names,
        layers=places,
        holdout=holdout,
        keep=keep,
        rate=fpr,
        split=best_split,
        choose=choose,
        outliers=bool(outliers),
        gallery=gallery,
        parameters=parameters,
    )
    images = open_data(data, model, labels=labels).limited(limit)
    foreign = {name: open_data(one, model, foreign=True).limited(limit) for name, one in (outliers or {}).items()}
    call = call_of(
        "ood.fit",
        model,
        data,
        methods=names,
        layers=places,
        holdout=None if holdout == HOLDOUT else holdout,
        keep=keep,
        outliers=outliers or None,
        fpr=fpr,
        best_split=best_split or None,
        choose=choose or None,
        gallery=None if gallery == GALLERY else gallery,
        labels=labels,
        limit=limit,
        parameters=parameters,
        seed=seed or None,
    )
    runtime = Runtime(device=model.device, seed=seed, progress=progress or silent)
    return run_fit(images, plan, outliers=foreign, runtime=runtime, jobs=jobs, command=call)


def score(
    model: Model,
    detector: Run | str | Path,
    data: Any,
    *,
    labels: str | Path | None = None,
    limit: int | None = None,
    examples: int = EXAMPLES,
    jobs: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Run:
    """Say of every image whether it is foreign to the model, and of the most foreign ones why.

    Args:
        model: from `xai.load`; the one that the detector was fitted to.
        detector: what `fit` returned, or the folder of such a run.
        data: images, as for `xai.attack`, or one picture.
        labels: file with a label each, for arrays that do not bring them.
        limit: take only so many images.
        examples: how many images are looked at closer: nearest known images, map of the score.
        jobs: shards at once; default one a core. The answer does not depend on it.
        seed: of everything random.
        progress: called with (stage, done, total).

    Returns:
        The run: run["score"].rows has a row an image, run["verdict", ID].values what is said of one.

    Raises:
        xai.errors.UsageError: there is no such detector, or the data do not exist.
        xai.errors.RefusedFileError: the detector is of another model, or no image could be read.
        xai.errors.TamperedError: the detector is not as it was written.
    """
    check_model(model)
    check_least(1, jobs=jobs, limit=limit)
    check_least(0, seed=seed, examples=examples)
    opened = open_detector(detector, model)
    images = open_data(data, model, labels=labels).limited(limit)
    call = call_of(
        "ood.score",
        model,
        detector,
        data,
        labels=labels,
        limit=limit,
        examples=None if examples == EXAMPLES else examples,
        seed=seed or None,
    )
    runtime = Runtime(device=model.device, seed=seed, progress=progress or silent)
    return run_score(model, opened, images, runtime=runtime, jobs=jobs, examples=examples, command=call)


def evaluate(
    model: Model,
    detector: Run | str | Path,
    inside: Any,
    outside: Mapping[str, Any] | None = None,
    *,
    near: Mapping[str, Any] | None = None,
    probes: str | Iterable[str] | None = None,
    labels: str | Path | None = None,
    limit: int | None = None,
    rounds: int = ROUNDS,
    jobs: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Run:
    """Measure how well fitted detectors tell in-distribution images from others.

    Args:
        model: from `xai.load`; the one that the detector was fitted to.
        detector: what `fit` returned, or the folder of such a run.
        inside: in-distribution images, others than those of the fit.
        outside: outliers that are far from these, by name.
        near: outliers that are near them, by name.
        probes: names of outliers that are made of the in-distribution images, "all" (default) or "none".
        labels: file with a label each, for an array of in-distribution images that does not bring them.
        limit: take only so many images of each set.
        rounds: of the bootstrap that gives the intervals.
        jobs: shards at once; default one a core. The answer does not depend on it.
        seed: of everything random.
        progress: called with (stage, done, total).

    Returns:
        The run: run["evaluation"].values has AUROC by set with its interval; each set is a finding of its own.

    Raises:
        xai.errors.UsageError: there is no such detector, or nothing to tell the images from.
        xai.errors.RefusedFileError: the detector is of another model, or no image of a set could be read.
        xai.errors.TamperedError: the detector is not as it was written.
    """
    check_model(model)
    check_least(1, jobs=jobs, limit=limit)
    check_least(0, seed=seed, rounds=rounds)
    named = names_of(probes)
    made = probes_named(named)
    opened = open_detector(detector, model)
    known = open_data(inside, model, labels=labels).limited(limit)
    sets = gathered({Nearness.NEAR: near or {}, Nearness.FAR: outside or {}}, model, limit)
    call = call_of(
        "ood.evaluate",
        model,
        detector,
        inside,
        outside,
        near=near,
        probes=named,
        labels=labels,
        limit=limit,
        rounds=None if rounds == ROUNDS else rounds,
        seed=seed or None,
    )
    runtime = Runtime(device=model.device, seed=seed, progress=progress or silent)
    return run_evaluate(
        model, opened, known, sets, probes=made, rounds=rounds, runtime=runtime, jobs=jobs, command=call
    )
