"""Scoring images with fitted detectors: which are foreign to the model, how sure that is, and why."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from xai.data.dataset import DataSet
from xai.engine.examined import again
from xai.engine.facts import input_record, model_record, outputs_of
from xai.engine.ood.detector import Detector
from xai.engine.ood.verdict import Watchman, judged_all
from xai.engine.ood.watch import Row, Scored, Watch, watched
from xai.engine.ood.words import INSIDE, OUTSIDE, UNKNOWN
from xai.engine.outcome import LISTED
from xai.engine.started import Started
from xai.errors import AnalysisError
from xai.models.model import Model
from xai.reports.artefacts import MemoryStore, Store, put, put_rows
from xai.reports.intervals import clopper_pearson
from xai.reports.records import Finding, InputRecord, Scalar, Value
from xai.reports.run import Run
from xai.robustness.ood.guard import COMBINED
from xai.runtime import Runtime

SCORE = "ood-score"
EXAMPLES = 8


def score(
    model: Model,
    detector: Detector,
    data: DataSet,
    *,
    runtime: Runtime | None = None,
    store: Store | None = None,
    folder: Path | None = None,
    jobs: int | None = None,
    examples: int = EXAMPLES,
    command: str = "",
    notes: Sequence[str] = (),
) -> Run:
    """Say of every image of a data set whether it is foreign to the model.

    Args:
        model: that the detectors were fitted to.
        detector: what was fitted.
        data: images; labels, where there are some, tell how often the model is right on either kind.
        runtime: device, seed, threads, memory, progress.
        store: keeps the arrays; default memory.
        folder: keeps the shards that are done, so that a killed run goes on; default memory.
        jobs: shards at once; default one a core. The answer does not depend on it.
        examples: how many images are looked at closer, the most foreign ones.
        command: what makes this run again.
        notes: what a reader must know of the whole run.

    Raises:
        RefusedFileError: no image could be read.
    """
    runtime = runtime or Runtime(device=model.device)
    store = store if store is not None else MemoryStore()
    started = Started("ood score", command)
    watch = Watch(model, detector.guard.fitted, runtime, detector.guard)
    scored = watched(watch, data, {"score": detector.facts}, folder, jobs=jobs, stage="scoring")
    whole = _whole(model, detector, scored, store)
    inputs, findings = _examples(model, detector, scored, store, examples)
    return started.finished(
        model_record(model),
        scored.sweep.runtime.settings(),
        store,
        inputs=inputs,
        findings=(whole, *findings),
        notes=(*notes, *data.notes, *scored.outcome.notes(data), *not_scored(scored)),
    )


def not_scored(scored: Scored) -> list[str]:
    """Say of how many images nothing is said."""
    lost = scored.without
    if not lost:
        return []
    shown = ", ".join(lost[:LISTED]) + (f" and {len(lost) - LISTED} more" if len(lost) > LISTED else "")
    return [f"for {len(lost)} of {scored.outcome.images} images outputs or scores are NaN or infinite: {shown}"]


def _whole(model: Model, detector: Detector, scored: Scored, store: Store) -> Finding:
    """Return what is said of all images together."""
    rows = put_rows(store, (row for _, row in judged_all(scored, detector.guard)))
    calibration = detector.guard.calibrations[COMBINED]
    scores = scored.scores().get(COMBINED)
    kept, values = calibration.threshold.keeps, _values(model, detector, scored)
    settings: dict[str, Scalar] = {
        "detector": detector.source,
        "detectors' sha256": detector.facts,
        "threshold": calibration.threshold.value,
        "threshold by": calibration.threshold.how,
        "keeps": None if kept is None else kept.value,
        "detectors": ", ".join(detector.guard.fitted.fitted),
        "data digest": scored.outcome.digest,
    }
    return Finding(
        id="score",
        family=SCORE,
        method="score",
        title="What is known, and what is foreign",
        description="Every image's score against the threshold, by all detectors together. The threshold comes of "
        "images that were held back when the detectors were fitted.",
        limits="In-distribution does not mean that the answer is right. Of images like those held back a share is "
        "called out-of-distribution, too; a larger share means that these images are of another kind as a whole.",
        source="",
        kind="statistical",
        input=None,
        status="ok",
        parameters=settings,
        values=values,
        notes=_surplus(values),
        artefacts={
            "rows": rows,
            "held": put(store, calibration.scores.numpy()),
            "scores": put(store, np.zeros(0) if scores is None else scores.numpy()),
        },
    )


def _values(model: Model, detector: Detector, scored: Scored) -> dict[str, Value]:
    families = [name for name in detector.guard.combinations if name != COMBINED]
    counts = dict.fromkeys((INSIDE, OUTSIDE, UNKNOWN), 0)
    alone = dict.fromkeys(families, 0)
    right: dict[str, list[bool]] = {INSIDE: [], OUTSIDE: []}
    for _, row in judged_all(scored, detector.guard):
        counts[row["verdict"]] += 1
        for name in families:
            alone[name] += bool(row["by"]) and not row["by"][name]["inside"]
        if row["label"] is not None and row["by"] and model.card.output != "values":
            right[row["verdict"]].append(row["label"] == row["predicted"])
    total = counts[INSIDE] + counts[OUTSIDE]
    found = {OUTSIDE: _share(counts[OUTSIDE], total, "share of the images with a score")}
    kept = detector.guard.calibrations[COMBINED].threshold.keeps
    if kept is not None:
        unit = "share of images like those held back, to be expected"
        found["expected"] = Value(value=1 - kept.value, unit=unit, interval=(1 - kept.high, 1 - kept.low))
    found["images"] = Value(value=scored.outcome.images, unit="images")
    if counts[UNKNOWN]:
        found[UNKNOWN] = Value(value=counts[UNKNOWN], unit="images whose scores are no numbers")
    found |= {
        f"{OUTSIDE} by {name}": _share(hits, total, "share, by that family alone") for name, hits in alone.items()
    }
    for name, hits in right.items():
        if hits:
            found[f"accuracy, {name}"] = _share(sum(hits), len(hits), "share of the labelled images called so")
    return found


def _surplus(values: Mapping[str, Value]) -> tuple[str, ...]:
    """Say so if more images are foreign than of images like those held back."""
    found, expected = values[OUTSIDE], values.get("expected")
    if expected is None or expected.interval is None or found.interval is None or not isinstance(found.value, float):
        return ()
    low, high = expected.interval
    if found.interval[0] <= high:
        return ()
    return (
        f"{100 * found.value:.1f} % of the images are {OUTSIDE}, and of images like those held back {100 * low:.1f} to "
        f"{100 * high:.1f} % would be: these are of another kind as a whole, or the detectors were fitted to images "
        "that the network was trained on, which it knows better than any new ones",
    )


def _share(hits: int, total: int, unit: str) -> Value:
    if not total:
        return Value(value=None, unit=unit, n=0)
    return Value(value=hits / total, unit=unit, n=total, interval=clopper_pearson(hits, total))


def _examples(
    model: Model, detector: Detector, scored: Scored, store: Store, count: int
) -> tuple[tuple[InputRecord, ...], list[Finding]]:
    """Return the most foreign images, the first of all first, with what is said of them."""
    watchman = Watchman(model, detector, scored.sweep.runtime, store)
    inputs: list[InputRecord] = []
    told: list[Finding] = []
    for number, row in _foremost(scored, detector, count):
        scored.sweep.runtime.progress("looking at single images", len(inputs), count)
        sample = again(scored.data, scored.sweep.shards[number], row)
        try:
            inputs.append(input_record(sample, outputs_of(model, sample), model, store))
        except AnalysisError:
            continue  # its outputs are no numbers; the notes say so
        told += [watchman.verdict(sample, row), *watchman.maps(sample)]
    return tuple(inputs), told


def _foremost(scored: Scored, detector: Detector, count: int) -> list[tuple[int, Row]]:
    known: Iterator[tuple[int, Row]] = (each for each in judged_all(scored, detector.guard) if each[1]["by"])
    return heapq.nlargest(count, known, key=lambda each: float(each[1]["by"][COMBINED]["score"]))
