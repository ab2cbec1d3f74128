"""Fitting detectors to a model: what they learn, thresholds of held-back images, whether the model works on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from xai.data.dataset import DataSet
from xai.engine.facts import model_record
from xai.engine.ood.detector import FIT, SEEN, Known, put_detector
from xai.engine.ood.learn import Counts, Learning
from xai.engine.ood.plan import FitPlan, Way
from xai.engine.ood.watch import Row, Scored, Watch, some_scored, watched
from xai.engine.ood.words import accuracy_words, card_accuracy, title_of
from xai.engine.outcome import LISTED
from xai.engine.started import Started
from xai.engine.sweep import Sweep, shard_size
from xai.errors import AnalysisError, UsageError
from xai.reports.artefacts import MemoryStore, Store, put
from xai.reports.figures import picture, thumbnail
from xai.reports.intervals import clopper_pearson
from xai.reports.records import Finding, Scalar, Value
from xai.reports.run import Run
from xai.robustness.ood.calibration import Calibration, at_false_positive_rate, best_split
from xai.robustness.ood.combination import choose
from xai.robustness.ood.detectors.base import Detector
from xai.robustness.ood.fitting import FittedSet
from xai.robustness.ood.gallery import Gallery, directions
from xai.robustness.ood.guard import COMBINED, Guard, calibrate, parted, some
from xai.robustness.ood.statistics import drawn
from xai.runtime import Runtime

DETECTOR = "ood-detector"
ENOUGH = 200  # images of a set that members of a combination are chosen on
ALIKE = 1e-6  # of the largest score: less of a difference is rounding
_GALLERY_SEED = 31


def fit(
    data: DataSet,
    plan: FitPlan,
    *,
    outliers: Mapping[str, DataSet] | None = None,
    runtime: Runtime | None = None,
    store: Store | None = None,
    folder: Path | None = None,
    jobs: int | None = None,
    command: str = "",
    notes: Sequence[str] = (),
) -> Run:
    """Fit detectors to a model on in-distribution images, and calibrate them on a share of these that is held back.

    Args:
        data: in-distribution images; labels, where there are some, tell whether the model works on them.
        plan: what is asked, of which model.
        outliers: known ones by name, for thresholds or members of the combination.
        runtime: device, seed, threads, memory, progress.
        store: keeps the arrays; default memory.
        folder: keeps what is done, so that a killed run goes on; default memory.
        jobs: shards at once where images are scored; default one a core. The answer does not depend on it.
        command: what makes this run again.
        notes: what a reader must know of the whole run.

    Raises:
        UsageError: too few images were held back for the keep rate.
        AnalysisError: the model gives NaN or infinite values, or every detector failed.
        NotApplicableError: no detector applies to this model.
        RefusedFileError: no image could be read.
    """
    model = plan.model
    runtime = runtime or Runtime(device=model.device)
    store = store if store is not None else MemoryStore()
    started = Started("ood fit", command)
    sweep = Sweep(model, data, runtime, shard_size(model))
    learning = Learning(plan, data, sweep, folder)
    fitted = learning.run()
    counts = learning.counts
    watch = Watch(model, fitted, sweep.runtime)
    held = _held_back(data, counts, watch, plan, folder, jobs)
    known = {
        name: some_scored(
            watched(
                watch, one, plan.described(), folder and folder / f"known-{place}", jobs=jobs, stage=f"scoring {name}"
            ),
            name,
        )
        for place, (name, one) in enumerate((outliers or {}).items())
    }
    guard = _calibrated(fitted, held, known, plan)
    remembered = _remembered(held, watch, plan)
    findings = _findings(plan, data, guard, counts, held, known, remembered, store)
    return started.finished(
        model_record(model),
        sweep.runtime.settings(),
        store,
        findings=findings,
        notes=(*notes, *data.notes, *_notes(data, counts, plan, remembered), *_of_known(known)),
    )


def _held_back(
    data: DataSet, counts: Counts, watch: Watch, plan: FitPlan, folder: Path | None, jobs: int | None
) -> Scored:
    """Score the images that were held back."""
    if not counts.held:
        raise UsageError(
            f"none of {len(data)} images was held back for the thresholds: images that hold the same are never parted; "
            "give more images, or a larger --holdout"
        )
    part = replace(data, chosen=np.asarray(data.chosen)[counts.held])
    place = None if folder is None else folder / "held"
    held = watched(watch, part, plan.described(), place, jobs=jobs, stage="scoring what was held back")
    if held.without:
        raise AnalysisError(
            f"expected finite scores of held-back images, received NaN or infinite ones for {held.without[0]}; look at "
            "that image and at the model"
        )
    return held


def _calibrated(fitted: FittedSet, held: Scored, known: Mapping[str, Scored], plan: FitPlan) -> Guard:
    """Return the detectors with their thresholds."""
    scores, keys = held.scores(), held.keys
    outside = {name: one.scores() for name, one in known.items()}
    members: tuple[str, ...] = ()
    if plan.choose:
        first = parted(keys)[0]
        few = {name: _rows(outside[name], some(one.keys, ENOUGH)) for name, one in known.items()}
        members = choose(_rows(scores, first[some(keys[first], ENOUGH)]), few)
    guard = calibrate(fitted, scores, keys, plan.keep, members=members)
    return guard if plan.way is Way.KEEP else _against(guard, outside, plan)


def _rows(scores: Mapping[str, torch.Tensor], places: torch.Tensor) -> dict[str, torch.Tensor]:
    return {name: values[places] for name, values in scores.items()}


def _against(guard: Guard, outside: Mapping[str, Mapping[str, torch.Tensor]], plan: FitPlan) -> Guard:
    """Return the guard with thresholds that known outliers gave."""
    all_of_them = {name: torch.cat([one[name] for one in outside.values()]) for name in guard.fitted.fitted}
    scores = guard.joined(all_of_them)
    found = {}
    for name, one in guard.calibrations.items():
        if plan.way is Way.SPLIT:
            threshold = best_split(one.scores, scores[name])
        else:
            threshold = at_false_positive_rate(scores[name], plan.rate, one.scores)
        found[name] = Calibration(one.scores, threshold)
    return replace(guard, calibrations=found)


def _remembered(held: Scored, watch: Watch, plan: FitPlan) -> Known | None:
    """Return some of the held-back images, read again: which they are follows from what they hold."""
    if not plan.gallery:
        return None
    drawn_by = drawn(held.keys, _GALLERY_SEED)
    chosen = set(drawn_by.argsort(stable=True)[: plan.gallery].tolist())
    wanted = {row["id"] for place, row in enumerate(held.rows()) if place in chosen}
    places = [index for index in range(len(held.data)) if held.data.id(index) in wanted]
    features, pictures, rows = [], [], []
    for start in range(0, len(places), shard_size(plan.model)):
        part = held.data.read_many(places[start : start + shard_size(plan.model)])
        features += [directions(seen).cpu() for seen in watch.seen(part.inputs)]
        for sample in part.samples:
            name = "" if sample.label is None else plan.model.answers[sample.label]
            rows.append({"id": sample.id, "label": name})
            if plan.model.input.is_picture:
                pictures.append(thumbnail(picture(sample.input.numpy(), plan.model.input.span)))
    return Known(Gallery(torch.cat(features)), np.stack(pictures) if pictures else None, rows)


def _findings(
    plan: FitPlan,
    data: DataSet,
    guard: Guard,
    counts: Counts,
    held: Scored,
    known: Mapping[str, Scored],
    remembered: Known | None,
    store: Store,
) -> tuple[Finding, ...]:
    """Return the whole, and each detector with its threshold."""
    combined = guard.calibrations[COMBINED]
    accuracy, doubts = _accuracy(plan, counts, list(held.rows()))
    values = {
        **accuracy,
        "images learnt of": Value(value=counts.images, unit="images", n=len(data)),
        "images held back": Value(value=held.outcome.images, unit="images", n=len(data)),
        **_told(combined),
    }
    settings: dict[str, Scalar] = {
        "detectors": ", ".join(guard.fitted.fitted),
        "layers": ", ".join(place.name for place in plan.reader.places) or "none: only outputs are looked at",
        "holdout": plan.holdout,
        "threshold by": plan.way.value,
        "keep rate": plan.keep if plan.way is Way.KEEP else None,
        "false-positive rate": plan.rate if plan.way is Way.FALSE_POSITIVES else None,
        "known outliers": ", ".join(known) or "none",
        "members of the combined verdict": ", ".join(guard.combinations[COMBINED].members),
        "members chosen by": "known outliers" if plan.choose else "nothing: all take part",
        "data digest": counts.digest,
    }
    whole = Finding(
        id="fit",
        family=FIT,
        method="fit",
        title="The detectors, and what they keep",
        description="Detectors learnt what the network's outputs and layers look like on images that it was made for. "
        "Images that were held back gave the thresholds: a higher score is more out-of-distribution.",
        limits="What is kept is promised for images like those held back, on average over all that could have been "
        "held back, and for no others: a network knows the images that it was trained on better than new ones. How "
        "many outliers are found is not known from this: xai ood evaluate tries it.",
        source="",
        kind="statistical",
        input=None,
        status="ok",
        parameters=settings,
        values=values,
        notes=(*doubts, *_all_alike(held), *guard.fitted.notes),
        artefacts={
            **put_detector(store, guard, remembered),
            SEEN: put(store, np.unique(np.array(counts.keys, dtype=np.int64))),
            "held": put(store, combined.scores.numpy()),
        },
    )
    combinations = [_combination(name, guard, store) for name in guard.combinations]
    return (whole, *combinations, *(_detector(one, guard, store) for one in plan.detectors))


def _all_alike(held: Scored) -> tuple[str, ...]:
    """Say so if every detector scores all held-back images the same, rounding aside: it could tell nothing apart."""
    spans = [(values.max() - values.min(), values.abs().max()) for values in held.scores().values()]
    if any(width > ALIKE * largest for width, largest in spans):
        return ()
    return (
        "every detector gives all held-back images the same score: the model answers alike whatever it is shown, and "
        "the verdict means nothing; look at the inputs, their preprocessing and the model",
    )


def _combination(name: str, guard: Guard, store: Store) -> Finding:
    members = guard.combinations[name].members
    of = "all detectors" if name == COMBINED else f"those that go by {name}"
    return _judged(
        Finding(
            id=name,
            family=DETECTOR,
            method=name,
            title=title_of(name),
            description=f"How surprising the scores of {of} are together: {', '.join(members)}.",
            limits="It sees what one of its members sees. Its threshold comes of the half of the held-back images that "
            "did not say how surprising a score is.",
            source="Wilson 2019, The harmonic mean p-value for combining dependent tests",
            kind="heuristic",
            input=None,
            status="ok",
        ),
        guard.calibrations[name],
        store,
    )


def _detector(one: Detector, guard: Guard, store: Store) -> Finding:
    about = one.about
    finding = Finding(
        id=about.name,
        family=DETECTOR,
        method=about.name,
        title=about.title,
        description=about.summary,
        limits=about.limits,
        source=about.source,
        kind=about.kind.value,
        input=None,
        status="ok",
        parameters=one.model_dump(mode="json"),
    )
    if about.name not in guard.fitted.fitted:
        return finding.model_copy(update={"status": "skipped", "reason": guard.fitted.skipped[about.name]})
    return _judged(finding, guard.calibrations[about.name], store)


def _judged(finding: Finding, calibration: Calibration, store: Store) -> Finding:
    held = put(store, calibration.scores.numpy())
    return finding.model_copy(update={"values": _told(calibration), "artefacts": {"held": held}})


def _told(calibration: Calibration) -> dict[str, Value]:
    """Return a threshold, and what it keeps."""
    threshold, count = calibration.threshold, len(calibration.scores)
    sure = f"{threshold.confidence:.0%} interval"
    ends = threshold.between
    finite = ends if ends is not None and all(abs(end) < float("inf") for end in ends) else None
    found = {"threshold": Value(value=threshold.value, unit=f"score, by {threshold.how}", n=count, interval=finite)}
    for name, share in (("keeps", threshold.keeps), ("lets pass", threshold.accepts)):
        if share is not None:
            kind = "in-distribution images" if name == "keeps" else "known outliers"
            unit = f"share of all {kind} like those that were seen, {sure}"
            found[name] = Value(value=share.value, unit=unit, n=count, interval=(share.low, share.high))
    return found


def _accuracy(plan: FitPlan, counts: Counts, rows: Sequence[Row]) -> tuple[dict[str, Value], tuple[str, ...]]:
    """Return how often the model is right on labelled images, and what must be said of that."""
    if plan.model.card.output == "values":
        return {}, ()
    known = [row for row in rows if row["label"] is not None]
    total = counts.labelled + len(known)
    right = counts.right + sum(row["label"] == row["predicted"] for row in known)
    claimed = card_accuracy(plan.model)
    if not total:
        return {}, accuracy_words(plan.model, None, claimed)
    interval = clopper_pearson(right, total)
    values = {"accuracy": Value(value=right / total, unit="share of the labelled images", n=total, interval=interval)}
    if claimed is not None:
        values["accuracy by the card"] = Value(value=claimed, unit="of whoever made the model")
    return values, accuracy_words(plan.model, values["accuracy"], claimed)


def _notes(data: DataSet, counts: Counts, plan: FitPlan, remembered: Known | None) -> list[str]:
    found = []
    if counts.skipped:
        shown = "; ".join(f"{one['id']}: {one['reason']}" for one in counts.skipped[:LISTED])
        more = f"; and {len(counts.skipped) - LISTED} more" if len(counts.skipped) > LISTED else ""
        found.append(f"{len(counts.skipped)} of {len(data)} images could not be read and are left out: {shown}{more}")
    read = len(data) - len(counts.skipped)
    found += [f"{count} of {read} images: {treatment}" for treatment, count in counts.treated.most_common(LISTED)]
    if remembered is not None:
        what = "as small pictures, with their names" if remembered.pictures is not None else "by their names"
        found.append(
            f"{len(remembered.rows)} held-back images are kept in the detector's folder {what}, to be shown beside new "
            "ones; a gallery of 0 keeps none"
        )
    if not plan.model.fingerprint:
        found.append("the model is a live function without a file: whether another one is given later cannot be told")
    return found


def _of_known(known: Mapping[str, Scored]) -> list[str]:
    """Say which known outliers gave no scores."""
    return [
        f"{len(one.without)} of {one.outcome.images} images of {name} have no scores that are numbers, and are left out"
        for name, one in known.items()
        if one.without
    ]
