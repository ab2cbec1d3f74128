"""Detectors are fitted together, in one pass over the data, whatever their number."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from xai.errors import AnalysisError, NotApplicableError, UsageError
from xai.models.model import Model
from xai.robustness.ood.detectors.base import Detector, Given, Reads, Seen, State, Statistic
from xai.robustness.ood.features import Reader, content_keys
from xai.runtime import Runtime

BATCH = 128  # inputs at once at most
_SIGN = "|"  # between the parts of a sum's name


@dataclass(frozen=True)
class Batch:
    """Some inputs.

    Args:
        inputs: (n, ...) in input units.
        labels: (n,) int64 classes, -1 where not known; none: of none is it known.
        keys: (n,) int64 that tell inputs apart, the same whenever they are read; none: taken of their bytes.
    """

    inputs: torch.Tensor
    labels: torch.Tensor | None = None
    keys: torch.Tensor | None = None

    def parts(self, size: int) -> Iterator[Batch]:
        """Yield it in parts of at most that size."""
        for start in range(0, len(self.inputs), size):
            rows = slice(start, start + size)
            yield Batch(self.inputs[rows], *(None if t is None else t[rows] for t in (self.labels, self.keys)))


@dataclass(frozen=True)
class Fitted:
    """A detector that has learnt.

    Args:
        detector: what it was.
        state: what it has learnt.
    """

    detector: Detector
    state: State

    def score(self, seen: Seen) -> torch.Tensor:
        """Return scores (n,) float64, high where an input is out-of-distribution."""
        return self.detector.score(seen, self.state)


@dataclass(frozen=True)
class FittedSet:
    """Detectors that were fitted together to one model.

    Args:
        fitted: by name.
        skipped: detectors that do not apply or could learn nothing, and why.
        layers: names of the layers that are looked at, where they were chosen; none: those of the graph.
        fingerprint: of the model.
        images: how many were learnt of.
        notes: what must be said of the fit.
    """

    fitted: Mapping[str, Fitted]
    skipped: Mapping[str, str]
    layers: tuple[str, ...]
    fingerprint: str
    images: int
    notes: tuple[str, ...] = ()

    @property
    def reads(self) -> frozenset[Reads]:
        """What all of them look at."""
        return wanted([one.detector for one in self.fitted.values()])

    def reader(self, of: Model | Reader) -> Reader:
        """Return what looks at a model for these detectors; raise UsageError if they were fitted to another.

        A reader that was returned before is given back, and need not look for head and layers anew.
        """
        model = of.model if isinstance(of, Reader) else of
        if model.fingerprint != self.fingerprint:
            raise UsageError(
                f"the detectors were fitted to a model of fingerprint {self.fingerprint[:12]}, and {model.name} has "
                f"{model.fingerprint[:12]}; fit them to this model"
            )
        return of if isinstance(of, Reader) and of.chosen == self.layers else Reader(model, self.layers)

    def score(self, seen: Seen) -> dict[str, torch.Tensor]:
        """Return every detector's scores (n,), float64 on the CPU, of what was seen with `reads`."""
        with torch.no_grad():
            return {name: one.score(seen).cpu() for name, one in self.fitted.items()}

    def scores(
        self, of: Model | Reader, inputs: torch.Tensor, runtime: Runtime | None = None
    ) -> dict[str, torch.Tensor]:
        """Return every detector's scores (n,), float64 on the CPU, of inputs (n, ...): one pass for all of them.

        Args:
            of: the model, or its `reader`, which saves time where inputs come one by one.
            inputs: in input units.
            runtime: says how many inputs go through the model at once.

        Raises:
            UsageError: the model is another, or the inputs are of another shape.
        """
        reader, reads = self.reader(of), self.reads
        size = (runtime or Runtime()).batch(reader.model.bytes_per_input, BATCH)
        parts = [self.score(reader.read(part.inputs, reads=reads)) for part in Batch(inputs).parts(size)]
        empty = torch.zeros(0, dtype=torch.float64)
        return {name: torch.cat([part[name] for part in parts] or [empty]) for name in self.fitted}


class Pass:
    """One pass over the data: what all chosen detectors need is summed up side by side.

    Args:
        statistics: what is summed up.
    """

    def __init__(self, statistics: Iterable[Statistic]) -> None:
        self._waiting: dict[Statistic, list[State]] = {statistic: [] for statistic in statistics}
        self.images = 0

    def add(self, seen: Seen) -> None:
        """Add some inputs."""
        self.images += len(seen)
        for statistic, states in self._waiting.items():
            states.append(statistic.of(seen))
            if len(states) > statistic.waiting:
                states[:] = [statistic.merged(states)]

    def sums(self) -> dict[Statistic, State]:
        """Return what was summed up."""
        return {statistic: statistic.merged(states) for statistic, states in self._waiting.items()}

    def settled(self) -> list[State]:
        """Merge what is waiting, and return it in the order of the statistics; nothing where there was no input."""
        if not self.images:
            return []
        for statistic, states in self._waiting.items():
            states[:] = [statistic.merged(states)]
        return [states[0] for states in self._waiting.values()]

    def settle(self, states: Sequence[State], images: int) -> None:
        """Take what another pass for the same statistics had summed up, of so many images."""
        for held, state in zip(self._waiting.values(), states, strict=bool(images)):
            held[:] = [state]
        self.images = images


def wanted(detectors: Sequence[Detector]) -> frozenset[Reads]:
    """Return what some detectors look at."""
    return frozenset[Reads]().union(*(detector.reads for detector in detectors))


class Fitting:
    """Detectors that are being fitted together; inputs may be added in any number of batches.

    What was summed up can be taken out and put back, so that a run that was killed goes on: `sums`, `resume`.

    Args:
        reader: looks at the model.
        detectors: of different names.
        runtime: says how many inputs go through the model at once.

    Raises:
        NotApplicableError: no detector applies to this model.
    """

    def __init__(self, reader: Reader, detectors: Sequence[Detector], runtime: Runtime | None = None) -> None:
        self._reader = reader
        self._chosen, self._skipped = _applicable(reader, detectors)
        self._work = Pass(dict.fromkeys(statistic for one in self._chosen for statistic in one.statistics))
        self._size = (runtime or Runtime()).batch(reader.model.bytes_per_input, BATCH)
        self._reads = wanted(self._chosen)

    def add(self, batch: Batch) -> torch.Tensor:
        """Learn of some inputs; return their logits (n, classes), float64.

        Raises:
            UsageError: a wrong shape, a label that is no class.
            AnalysisError: the model gives NaN or infinite values.
        """
        found = []
        for part in batch.parts(self._size):
            keys = content_keys(part.inputs) if part.keys is None else part.keys
            seen = self._reader.read(part.inputs, part.labels, keys, self._reads)
            _check_finite(seen, self._work.images)
            self._work.add(seen)
            found.append(seen.logits)
        return torch.cat(found)

    def sums(self) -> State:
        """Return all that was summed up, merged, under names that `resume` knows."""
        return {
            f"{place}{_SIGN}{name}": value
            for place, state in enumerate(self._work.settled())
            for name, value in state.items()
        }

    def resume(self, sums: State, images: int) -> None:
        """Go on where `sums` of another fitting of the same detectors was taken, after so many images."""
        states: dict[int, State] = {}
        for name, value in sums.items():
            place, _, key = name.partition(_SIGN)
            states.setdefault(int(place), {})[key] = value.to(self._reader.model.device)
        self._work.settle([states[place] for place in sorted(states)], images)

    def done(self) -> FittedSet:
        """Let every detector learn of what was summed up.

        Raises:
            UsageError: there was no image.
            AnalysisError: every detector failed.
        """
        if self._work.images == 0:
            raise UsageError("expected in-distribution images to fit detectors on, received none")
        return _fitted(self._reader, self._chosen, dict(self._skipped), self._work)


def fit(
    reader: Reader, batches: Iterable[Batch], detectors: Sequence[Detector], runtime: Runtime | None = None
) -> FittedSet:
    """Fit detectors together in one pass.

    Neither the order of the images nor the batches matter, up to rounding. Memory does not grow with the images.

    Args:
        reader: looks at the model.
        batches: in-distribution images; not those that thresholds are calibrated on.
        detectors: of different names.
        runtime: says how many inputs go through the model at once.

    Raises:
        UsageError: no image, a wrong shape, a label that is no class.
        AnalysisError: the model gives NaN or infinite values; or every detector failed.
        NotApplicableError: no detector applies to this model.
    """
    fitting = Fitting(reader, detectors, runtime)
    for batch in batches:
        if len(batch.inputs):
            fitting.add(batch)
    return fitting.done()


def _applicable(reader: Reader, detectors: Sequence[Detector]) -> tuple[list[Detector], dict[str, str]]:
    """Return the detectors that apply to the model, and why the others do not."""
    chosen, skipped = [], {}
    for detector in detectors:
        try:
            reader.check(detector.reads)
            chosen.append(detector)
        except NotApplicableError as error:
            skipped[detector.about.name] = str(error)
    if not chosen:
        reasons = "; ".join(dict.fromkeys(skipped.values()))
        raise NotApplicableError(f"expected a detector that applies to this model, received none: {reasons}")
    return chosen, skipped


def _fitted(reader: Reader, detectors: list[Detector], skipped: dict[str, str], work: Pass) -> FittedSet:
    """Let every detector learn of what was summed up."""
    given = Given(reader.head, work.sums())
    fitted: dict[str, Fitted] = {}
    for detector in detectors:
        try:
            fitted[detector.about.name] = Fitted(detector, detector.fit(given))
        except AnalysisError as error:
            skipped[detector.about.name] = str(error)
    if not fitted:
        raise AnalysisError("; ".join(dict.fromkeys(skipped.values())))
    notes = tuple(dict.fromkeys(given.notes))
    return FittedSet(fitted, skipped, reader.chosen, reader.model.fingerprint, work.images, notes)


def _check_finite(seen: Seen, before: int) -> None:
    """Raise AnalysisError if logits or features of an input are not numbers."""
    for what, values in (("logits", seen.logits), ("features", seen.features)):
        fine = values.isfinite().all(1)
        if not fine.all():
            raise AnalysisError(
                f"expected finite {what}, received NaN or infinite ones for image {before + int(fine.int().argmin())} "
                "(counted from 0); look at that image and at the model"
            )
