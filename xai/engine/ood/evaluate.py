"""Trying fitted detectors: how well known images are told from named sets of others, and from probes that need none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import torch

from xai.data.dataset import DataSet, open_data
from xai.engine.facts import model_record
from xai.engine.ood.detector import Detector
from xai.engine.ood.score import not_scored
from xai.engine.ood.watch import Scored, Watch, some_scored, watched
from xai.engine.ood.words import title_of
from xai.engine.started import Started
from xai.errors import NotApplicableError, UsageError, unknown
from xai.models.model import Model
from xai.reports.artefacts import MemoryStore, Store, put, put_rows
from xai.reports.intervals import clopper_pearson
from xai.reports.records import Finding, Scalar, Value
from xai.reports.run import Run
from xai.robustness.ood.combination import choose, combination
from xai.robustness.ood.guard import COMBINED, Guard, parted, some
from xai.robustness.ood.metrics import Measured
from xai.robustness.ood.metrics import evaluate as measured
from xai.robustness.ood.probes import PROBES
from xai.runtime import Runtime

EVALUATION, SET = "ood-evaluation", "ood-set"
ROUNDS, PROBED = 200, 500
ENOUGH = 200  # images of a set that members of a combination are chosen on
LEFT_OUT = "chosen on the other sets"
UNITS = {
    "AUROC": "probability that an outlier scores higher",
    "AUPR-in": "average precision, in-distribution images looked for",
    "AUPR-out": "average precision, outliers looked for",
    "FPR95": "share of outliers that pass where 95 % of the in-distribution images are kept",
}
Scores = Mapping[str, torch.Tensor]


class Nearness(StrEnum):
    """How far outliers are from what the model was made for."""

    NEAR = "near"
    FAR = "far"
    PROBE = "probe"


@dataclass(frozen=True)
class Outliers:
    """One set of outliers, scored.

    Args:
        name: of the set, or the probe.
        nearness: as its user sees it.
        scores: (n,) by detector and combination.
        keys: (n,) what tells these images apart.
        images: how many there are.
    """

    name: str
    nearness: Nearness
    scores: Scores
    keys: torch.Tensor
    images: int

    def few(self, names: Iterable[str]) -> dict[str, torch.Tensor]:
        """Return the scores of as many images as members are chosen on, by detector."""
        places = some(self.keys, ENOUGH)
        return {name: self.scores[name][places] for name in names}


def probes_named(names: Iterable[str] | None) -> tuple[str, ...]:
    """Return the probes of those names; default and "all": all, "none": none; raise UsageError for an unknown one."""
    wanted = ["all"] if names is None else list(names)
    if wanted in (["all"], ["none"]):
        return tuple(PROBES) if wanted == ["all"] else ()
    for name in wanted:
        if name not in PROBES:
            raise unknown("probe", name, PROBES)
    return tuple(dict.fromkeys(wanted))


def gathered(
    named: Mapping[Nearness, Mapping[str, Any]], model: Model, limit: int | None = None
) -> dict[str, tuple[Nearness, DataSet]]:
    """Return sets of outliers, opened; raise UsageError for a name that was given twice or is a probe's.

    Args:
        named: data by name, by how far they are.
        model: whose inputs they become.
        limit: how many images of each are taken.
    """
    found: dict[str, tuple[Nearness, DataSet]] = {}
    for nearness, sets in named.items():
        for name, data in sets.items():
            if name in found or name in PROBES:
                other = "another set" if name in found else "a probe"
                raise UsageError(f"a set of outliers is called {name!r}, as {other} is; call it otherwise")
            found[name] = (nearness, open_data(data, model, foreign=True).limited(limit))
    return found


def evaluate(
    model: Model,
    detector: Detector,
    inside: DataSet,
    outside: Mapping[str, tuple[Nearness, DataSet]],
    *,
    probes: Sequence[str] = tuple(PROBES),
    rounds: int = ROUNDS,
    runtime: Runtime | None = None,
    store: Store | None = None,
    folder: Path | None = None,
    jobs: int | None = None,
    command: str = "",
    notes: Sequence[str] = (),
) -> Run:
    """Measure how well fitted detectors tell in-distribution images from others.

    Args:
        model: that the detectors were fitted to.
        detector: what was fitted.
        inside: in-distribution images, others than those of the fit.
        outside: outliers by name, and how far they are.
        probes: names of outliers that are made of the in-distribution images.
        rounds: of the bootstrap.
        runtime: device, seed, threads, memory, progress.
        store: keeps the arrays; default memory.
        folder: keeps the shards that are done, so that a killed run goes on; default memory.
        jobs: shards at once; default one a core. The answer does not depend on it.
        command: what makes this run again.
        notes: what a reader must know of the whole run.

    Raises:
        UsageError: there is nothing to tell them from.
        RefusedFileError: no image of a set could be read.
    """
    if not outside and not probes:
        raise UsageError("there are no outliers to try: name some with --ood NAME=DATA, or leave the probes on")
    runtime = runtime or Runtime(device=model.device)
    store = store if store is not None else MemoryStore()
    started = Started("ood evaluate", command)
    watch = Watch(model, detector.guard.fitted, runtime, detector.guard)
    asked = {"evaluate": detector.facts}

    def scored(number: int, name: str, data: DataSet, probe: str = "") -> Scored:
        place = None if folder is None else folder / f"{number:03}"
        return some_scored(watched(watch, data, asked, place, jobs=jobs, stage=f"scoring {name}", probe=probe), name)

    known = scored(0, "in-distribution images", inside)
    told = list(not_scored(known))
    sets: list[Outliers] = []
    for number, (name, (nearness, data)) in enumerate(outside.items(), start=1):
        found = scored(number, name, data)
        told += [f"{name}: {line}" for line in (*data.notes, *found.outcome.notes(data), *not_scored(found))]
        sets.append(Outliers(name, nearness, found.scores(), found.keys, found.outcome.images))
    few, skipped = _spread(inside, PROBED), []
    for number, name in enumerate(probes, start=len(outside) + 1):
        try:
            found = scored(number, name, few, name)
        except NotApplicableError as error:
            skipped.append(_blank(name).model_copy(update={"status": "skipped", "reason": str(error)}))
            continue
        sets.append(Outliers(name, Nearness.PROBE, found.scores(), found.keys, found.outcome.images))
    if not sets:
        raise UsageError(
            f"no probe could be made of such inputs ({skipped[0].reason}): name outliers with --ood NAME=DATA"
        )
    runtime.progress("measuring", 0, 1)
    findings = _Evaluation(detector, known, sets, rounds, runtime.seed, store).findings()
    return started.finished(
        model_record(model),
        known.sweep.runtime.settings(),
        store,
        findings=(*findings, *skipped),
        notes=(*notes, *inside.notes, *known.outcome.notes(inside), *told),
    )


class _Evaluation:
    """Figures of every detector and combination on every set."""

    def __init__(
        self, detector: Detector, known: Scored, sets: Sequence[Outliers], rounds: int, seed: int, store: Store
    ) -> None:
        self.detector, self.known, self.sets, self.store = detector, known, sets, store
        self.rounds, self.seed = rounds, seed
        self.guard: Guard = detector.guard
        self.inside = known.scores()
        self.names = [*self.guard.combinations, *self.guard.fitted.fitted]
        self.figures = {
            one.name: {name: self._measured(self.inside[name], one.scores[name]) for name in self.names} for one in sets
        }
        self.left_out = self._left_out()

    def _measured(self, inside: torch.Tensor, outside: torch.Tensor) -> dict[str, Measured]:
        return measured(inside, outside, self.rounds, self.seed)

    def _left_out(self) -> dict[str, dict[str, Measured]]:
        """Return the figures of the combination whose members all sets but the judged one chose.

        Either half of the in-distribution images is judged by the combination that the other half helped to choose.
        Figures are the mean of both, so that no image is left unjudged; so are the ends of their intervals, which are
        those of half as many images.
        """
        keys = self.known.keys
        halves = parted(keys)
        if len(self.sets) < 2 or not len(halves[0]):
            return {}
        by_half = [self._chosen_on(keys, *ways) for ways in (halves, halves[::-1])]
        return {one.name: _mean([found[one.name] for found in by_half]) for one in self.sets}

    def _chosen_on(
        self, keys: torch.Tensor, choosing: torch.Tensor, judged: torch.Tensor
    ) -> dict[str, dict[str, Measured]]:
        """Return `_left_out` of the images at some places, which others took part in choosing."""
        reference = {name: self.inside[name][choosing] for name in self.singles}
        rest = {name: self.inside[name][judged] for name in self.singles}
        places = some(keys[choosing], ENOUGH)
        small = {name: values[places] for name, values in reference.items()}
        few = {one.name: one.few(self.singles) for one in self.sets}
        found = {}
        for one in self.sets:
            members = choose(small, {name: scores for name, scores in few.items() if name != one.name})
            made = combination(reference, members)
            found[one.name] = self._measured(made.score(rest), made.score(one.scores))
        return found

    def findings(self) -> tuple[Finding, ...]:
        """Return the whole, and each set."""
        return (self._whole(), *(self._set(one) for one in self.sets))

    @property
    def singles(self) -> list[str]:
        """The detectors, without combinations."""
        return list(self.guard.fitted.fitted)

    def auroc(self, name: str, of: Nearness | None = None) -> list[float]:
        """Return a detector's AUROC on every set, or on those of one kind."""
        table = self.left_out if name == LEFT_OUT else {one: figures[name] for one, figures in self.figures.items()}
        return [table[one.name]["AUROC"].value for one in self.sets if of in (None, one.nearness)]

    def _whole(self) -> Finding:
        calibration = self.guard.calibrations[COMBINED]
        settings: dict[str, Scalar] = {
            "detector": self.detector.source,
            "detectors' sha256": self.detector.facts,
            "sets": ", ".join(f"{one.name} ({one.nearness})" for one in self.sets),
            "bootstrap rounds": self.rounds,
            "members of the combined verdict": ", ".join(self.guard.combinations[COMBINED].members),
            "threshold": calibration.threshold.value,
            "data digest": self.known.outcome.digest,
        }
        return Finding(
            id="evaluation",
            family=EVALUATION,
            method="evaluation",
            title="How well known and foreign images are told apart",
            description="AUROC of every detector on every set: the probability that an outlier scores higher than an "
            "in-distribution image. The members of the combined verdict were fixed when the detectors were fitted. "
            "Intervals are a bootstrap's; where it reaches 0 or 1, they are those that hold for any distribution.",
            limits="It is about these sets: outliers of other kinds may be told worse, and AUROC says nothing of a "
            "threshold. Probes are easier than most outliers that one meets.",
            source="Hoeffding 1963, of the intervals of a figure at 0 or 1",
            kind="statistical",
            input=None,
            status="ok",
            parameters=settings,
            values=self._values(),
            notes=self._cautions(),
            artefacts={"figures": put_rows(self.store, self._rows()), "inside": self._kept(self.inside[COMBINED])},
        )

    def _values(self) -> dict[str, Value]:
        found = {f"AUROC, {name}": _value("AUROC", one[COMBINED]["AUROC"]) for name, one in self.figures.items()}
        best = {
            "worst": max(self.singles, key=lambda name: min(self.auroc(name))),
            "mean": max(self.singles, key=lambda name: float(np.mean(self.auroc(name)))),
        }
        ways: dict[str, Any] = {"worst": min, "mean": lambda values: float(np.mean(values))}
        for what, way in ways.items():
            found[f"{what} AUROC"] = Value(value=way(self.auroc(COMBINED)), unit="combined, over the sets")
            name = best[what]
            unit = f"the best of any single detector: {title_of(name)}"
            found[f"{what} AUROC of a single one"] = Value(value=way(self.auroc(name)), unit=unit)
            if self.left_out:
                unit = "the combination whose members all sets but the judged one chose"
                found[f"{what} AUROC, {LEFT_OUT}"] = Value(value=way(self.auroc(LEFT_OUT)), unit=unit)
        for nearness in Nearness:
            own = self.auroc(COMBINED, nearness)
            if own:
                found[f"mean AUROC, {nearness}"] = Value(value=float(np.mean(own)), unit="combined", n=len(own))
        inside = self.guard.calibrations[COMBINED].threshold.inside(self.inside[COMBINED])
        unit = "share of the in-distribution images at or below the threshold"
        found["kept"] = _share(int(inside.sum()), len(inside), unit)
        keeps = self.guard.calibrations[COMBINED].threshold.keeps
        if keeps is not None:
            unit = "share that the calibration promised"
            found["promised"] = Value(value=keeps.value, unit=unit, interval=(keeps.low, keeps.high))
        return found

    def _cautions(self) -> tuple[str, ...]:
        """Say so if the images are those of the fit, or fewer of them are kept than was promised."""
        keys = self.known.keys.numpy()
        again = int(np.isin(keys, self.detector.seen).sum())
        if again:
            return (
                f"{again} of {len(keys)} in-distribution images are among those that the detectors were fitted to: the "
                "figures flatter them; give others",
            )
        keeps = self.guard.calibrations[COMBINED].threshold.keeps
        inside = self.guard.calibrations[COMBINED].threshold.inside(self.inside[COMBINED])
        interval = clopper_pearson(int(inside.sum()), len(inside))
        if keeps is None or interval[1] >= keeps.low:
            return ()
        return (
            f"the threshold keeps {100 * float(inside.double().mean()):.1f} % of these in-distribution images, and the "
            f"calibration promised {100 * keeps.low:.1f} to {100 * keeps.high:.1f} %: they are of another kind than "
            "those of the fit, or the detectors were fitted to images that the network was trained on",
        )

    def _rows(self) -> Iterator[dict[str, Any]]:
        """Yield the figures of every detector on every set."""
        for one in self.sets:
            tables = dict(self.figures[one.name])
            if self.left_out:
                tables[LEFT_OUT] = self.left_out[one.name]
            for name, figures in tables.items():
                own = self.guard.fitted.fitted.get(name)
                yield {
                    "set": one.name,
                    "nearness": one.nearness.value,
                    "images": one.images,
                    "name": name,
                    "title": "Combined, chosen on the other sets" if name == LEFT_OUT else title_of(name),
                    "family": str(own.detector.evidence) if own else "",
                    **{key: [figure.value, figure.low, figure.high] for key, figure in figures.items()},
                }

    def _set(self, one: Outliers) -> Finding:
        """Return what is known of one set."""
        calibration = self.guard.calibrations[COMBINED]
        found = one.scores[COMBINED]
        caught = ~calibration.threshold.inside(found)
        best = max(self.singles, key=lambda name: self.figures[one.name][name]["AUROC"].value)
        figures = self.figures[one.name]
        values = {name: _value(name, figure) for name, figure in figures[COMBINED].items()}
        values["found"] = _share(int(caught.sum()), len(caught), "share of the outliers above the threshold")
        values["outliers"] = Value(
            value=len(found) / (len(found) + len(self.inside[COMBINED])),
            unit="share of all images, with which AUPR moves",
        )
        reached = 100 * figures[best]["AUROC"].value
        values["best single detector"] = Value(value=title_of(best), unit=f"AUROC {reached:.1f} %")
        blank = _blank(one.name, one.nearness)
        return blank.model_copy(
            update={
                "parameters": {"threshold": calibration.threshold.value, "nearness": one.nearness.value},
                "values": values,
                "artefacts": {
                    "inside": self._kept(self.inside[COMBINED]),
                    "outside": self._kept(found),
                    "inside, single": self._kept(self.inside[best]),
                    "outside, single": self._kept(one.scores[best]),
                },
            }
        )

    def _kept(self, scores: torch.Tensor) -> Any:
        return put(self.store, scores.sort().values.numpy())


def _mean(figures: Sequence[Mapping[str, Measured]]) -> dict[str, Measured]:
    """Return the mean of figures, and of the ends of their intervals."""
    fields = ("value", "low", "high")
    return {
        name: Measured(*(float(np.mean([getattr(one[name], field) for one in figures])) for field in fields))
        for name in figures[0]
    }


def _spread(data: DataSet, count: int) -> DataSet:
    """Return at most so many entries, evenly spread: the first ones might all be of one class."""
    places = np.linspace(0, len(data) - 1, min(count, len(data))).round().astype(np.int64)
    return replace(data, chosen=np.asarray(data.chosen)[places])


def _blank(name: str, nearness: Nearness = Nearness.PROBE) -> Finding:
    about = f"Outliers that were named, {nearness.value} ones as their user sees them."
    if nearness is Nearness.PROBE:
        about = f"Outliers that are made of the in-distribution images. {PROBES[name].summary}"
    return Finding(
        id=f"set/{name}",
        family=SET,
        method="set",
        title=f"Against {name}",
        description=about,
        limits="AUPR moves with the share of outliers among all images, so it is comparable only at the same share.",
        source="",
        kind="statistical",
        input=None,
        status="ok",
    )


def _value(name: str, figure: Measured) -> Value:
    return Value(value=figure.value, unit=UNITS[name], interval=(figure.low, figure.high))


def _share(hits: int, total: int, unit: str) -> Value:
    return Value(value=hits / total, unit=unit, n=total, interval=clopper_pearson(hits, total))
