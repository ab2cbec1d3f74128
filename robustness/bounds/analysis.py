"""Bounds over a program of steps: intervals forwards, linear functions backwards."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch

from xai.errors import AnalysisError
from xai.robustness.bounds.elementwise import Elementwise, Rectifier
from xai.robustness.bounds.inputs import Inputs
from xai.robustness.bounds.interval import Interval
from xai.robustness.bounds.operation import Operation, Pulled, Relaxation, shares, total
from xai.robustness.bounds.rounding import Arithmetic, Rounding
from xai.robustness.bounds.windows import Patch, back, is_map, patches

MEMORY = 32 * 2**20  # bytes that the coefficients of one step may take
Slopes = Mapping[int, torch.Tensor]
Cuts = Mapping[int, tuple[torch.Tensor, torch.Tensor]]  # (rows, batch, ...) to add to the rows, (batch, ...) thresholds
Backwards = Callable[[int, torch.Tensor], torch.Tensor]  # (step, rows) -> a lower bound (rows, batch)


@dataclass(frozen=True)
class Step:
    """One value of the network.

    Args:
        name: of the graph's node that it comes from.
        layer: the innermost named layer that it lies in.
        operation: what makes it; None for the input.
        inputs: the steps that it is made of.
        shape: of the value for a batch of one.
    """

    name: str
    layer: str
    operation: Operation | None
    inputs: tuple[int, ...]
    shape: tuple[int, ...]


class TimeUpError(Exception):
    """Bounds took longer than they may."""


@dataclass(frozen=True)
class Kept:
    """Slopes that bounds were met with.

    Args:
        step: whose value was bounded.
        numbers: (rows,) the number of it that each row is about, where it is about one.
        signs: (rows,) 1 where it was bounded from below, -1 from above.
        shares: (rows, batch, ...) uint8 by step; see `xai.robustness.bounds.operation.shares`.
    """

    step: int
    numbers: torch.Tensor
    signs: torch.Tensor
    shares: Slopes


@dataclass
class Analysis:
    """What is known of a network's values for all inputs of a region; it grows as bounds are computed.

    Args:
        steps: of the network, each after those that it is made of; the first is the input.
        inputs: the region.
        rounding: what is to be covered.
        memory: bytes that the coefficients of one step may take.
        around: boxes of steps that are known beforehand; what is found is kept within them.
        late: asked now and then whether to give up, by a TimeUpError.
        empty: samples (batch,) that turn out to hold no input, since what is known beforehand contradicts itself; None
            where that would be a fault.
        kept: filled with the slopes that optimised bounds were met with; None where nobody asks for them.
    """

    steps: Sequence[Step]
    inputs: Inputs
    rounding: Rounding
    memory: int = MEMORY
    around: Mapping[int, Interval] = field(default_factory=dict)
    late: Callable[[], bool] = bool  # which says no
    empty: torch.Tensor | None = None
    kept: list[Kept] | None = None
    boxes: dict[int, Interval] = field(default_factory=dict)
    lost: dict[int, torch.Tensor] = field(default_factory=dict)  # samples (batch,) of which a step says nothing
    _narrowed: dict[int, torch.Tensor] = field(default_factory=dict)  # which numbers were bounded backwards
    _alone: list[Analysis] = field(default_factory=list)
    _relaxed: dict[int, tuple[Relaxation, torch.Tensor]] = field(default_factory=dict)

    def spread(self, last: int, *backwards: Backwards, keep: bool = True) -> Interval:
        """Return bounds of a step, through intervals from step to step.

        Args:
            last: the step.
            keep: whether all boxes stay; else only those at which rows from the last step would stop.
            backwards: ways to bound rows times a step's value, the cheapest first; values that enter a step that is not
                affine are bounded by each of them, where that matters.
        """
        entering = self._entering(last) if backwards else {}
        spent = {} if keep else self._spent(last)
        for index in sorted(self.ancestors(last)):
            if index in self.boxes:
                continue
            self.boxes[index] = self._kept_within(index, self._forward(index))
            if index in entering and not self._is_exact(index):
                for way in backwards:
                    self._refine(index, entering[index], way)
            for old in spent.get(index, ()):
                self.boxes.pop(old, None)
        return self.boxes[last]

    def lowest(
        self,
        start: int,
        rows: torch.Tensor,
        slopes: Slopes | None = None,
        *,
        boxed: bool = False,
        cuts: Cuts | None = None,
        seen: dict[int, torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """Return a lower bound (rows, batch) float64 of rows (rows, batch, ...) times a step's value.

        Args:
            start: the step.
            rows: coefficients.
            slopes: for steps with free ones, those to take (rows, batch, ...).
            boxed: whether to stop at the first steps that are not affine and to take their boxes.
            cuts: for steps whose numbers are known to lie on one side of a threshold, at what price.
            seen: filled with the coefficients (rows, batch, ...) of every step's value on the way.
        """
        return self._certain(start, self._onwards({start: rows}, slopes, boxed=boxed, cuts=cuts, seen=seen))

    def _certain(self, start: int, found: torch.Tensor) -> torch.Tensor:
        """Return bounds (rows, batch), -inf where they are not finite or a step says nothing of a sample."""
        known = found.isfinite() & ~self.lost[start] if start in self.lost else found.isfinite()
        return torch.where(known, found, torch.full_like(found, -torch.inf))

    def _onwards(
        self,
        waiting: dict[int, torch.Tensor],
        slopes: Slopes | None = None,
        *,
        boxed: bool = False,
        cuts: Cuts | None = None,
        seen: dict[int, torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """Return a lower bound of the sum of rows times the values of several steps."""
        if self.late():
            raise TimeUpError
        first = next(iter(waiting.values()))
        found = torch.zeros(first.shape[:2], dtype=torch.float64, device=first.device)
        while waiting:
            index = max(waiting)
            rows = waiting.pop(index)
            if cuts and index in cuts:
                push, at = cuts[index]
                rows, found = rows + push, found - total(push, at)
            if seen is not None:
                seen[index] = rows
            operation = self.steps[index].operation
            if operation is None:
                found = found + self.inputs.lowest(rows)
            elif boxed and not operation.affine:
                found = found + self._in_box(index, rows)
            else:
                parts, constant = self._back(index, rows, slopes)
                found = found + constant
                for source, part in zip(self.steps[index].inputs, parts, strict=True):
                    waiting[source] = waiting[source] + part if source in waiting else part
        return found

    def _back(self, index: int, rows: torch.Tensor, slopes: Slopes | None) -> Pulled:
        relaxation, slack = self.relaxation(index)
        if slopes and index in slopes and relaxation.free:
            relaxation = relaxation.free.take(slopes[index])
        parts, constant = relaxation.pull(rows)
        return parts, constant - total(rows.abs(), slack)

    def _in_box(self, index: int, rows: torch.Tensor) -> torch.Tensor:
        box = self.boxes[index]
        slack = self.rounding.backward(box.magnitude, box.magnitude, 0)
        return total(rows.clamp(min=0), box.lower) + total(rows.clamp(max=0), box.upper) - total(rows.abs(), slack)

    def bounded(self, start: int, rows: torch.Tensor, *, boxed: bool = False) -> torch.Tensor:
        """Return what `lowest` does, in chunks that fit the memory; where nothing is known -inf."""
        found = [self.lowest(start, part, boxed=boxed) for part in rows.split(self.chunk(start, rows))]
        return torch.cat(found)

    def chunk(self, start: int, rows: torch.Tensor, spare: int = 1) -> int:
        """Return how many rows fit the memory at once, where each takes `spare` times what a step's do."""
        return max(1, self.memory // max(self._widest(start) * rows.shape[1] * rows.element_size() * spare, 1))

    def slopes(self, last: int, rows: int) -> dict[int, tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        """Return for each step with free slopes where to begin (rows, batch, ...), the smallest and the largest."""
        found = {}
        for index in sorted(self.ancestors(last)):
            free = None if self.steps[index].operation is None else self.relaxation(index)[0].free
            if free is not None and bool(free.where.any()):
                found[index] = free.start.expand(rows, *free.start.shape).clone(), free.low, free.high
        return found

    def keep(self, step: int, rows: torch.Tensor, slopes: Slopes) -> None:
        """Remember with which slopes (rows, batch, ...) rows (rows, batch, ...) of a step's value were bounded."""
        if self.kept is None:
            return
        flat = rows[:, 0].flatten(1)
        numbers = flat.abs().argmax(1)
        own = {index: shares(slope, self._least(index)) for index, slope in slopes.items()}
        self.kept.append(Kept(step, numbers, flat.gather(1, numbers[:, None])[:, 0].sign(), own))

    def _least(self, index: int) -> torch.Tensor:
        free = self.relaxation(index)[0].free
        assert free is not None
        return free.low

    @property
    def open(self) -> dict[int, torch.Tensor]:
        """For each step with free slopes which of its numbers (batch, ...) have one."""
        found = {index: relaxation.free for index, (relaxation, _) in self._relaxed.items()}
        return {index: free.where for index, free in found.items() if free is not None}

    def relaxation(self, index: int) -> tuple[Relaxation, torch.Tensor]:
        """Return a step's linear bounds, and what rounding can carry its outputs off by (batch, ...)."""
        if index not in self._relaxed:
            step = self.steps[index]
            assert step.operation is not None
            relaxation = step.operation.relax(*(self.boxes[source].to(torch.float64) for source in step.inputs))
            sizes, own = relaxation.sizes(), relaxation.network_sizes()
            self._relaxed[index] = relaxation, self.rounding.backward(sizes, own, step.operation.terms or 0)
        return self._relaxed[index]

    def ancestors(self, last: int) -> set[int]:
        """Return the steps that a step is made of, itself included."""
        found, waiting = set(), [last]
        while waiting:
            index = waiting.pop()
            if index not in found:
                found.add(index)
                waiting += self.steps[index].inputs
        return found

    def _forward(self, index: int) -> Interval:
        step = self.steps[index]
        if step.operation is None:
            return self.inputs.box.to(self.rounding.dtype).laid_out()
        boxes = [self.boxes[source] for source in step.inputs]
        found = step.operation.interval(self.rounding, *boxes).known()
        return self._without_lost(index, found, step.operation.undefined(*boxes))

    @property
    def narrowed(self) -> Collection[int]:
        """The steps whose boxes were bounded backwards."""
        return self._narrowed.keys()

    def _consistent(self, index: int, box: Interval) -> Interval:
        """Return a box of which no number's bounds contradict each other; samples without inputs are marked."""
        crossed = box.lower > box.upper
        if not bool(crossed.any()):
            return box
        if self.empty is None:
            raise AnalysisError(f"bounds of {self.steps[index].layer} contradict each other: this is a fault of xai")
        self.empty |= crossed.flatten(1).any(1)
        return Interval(torch.minimum(box.lower, box.upper), torch.maximum(box.lower, box.upper))

    def _kept_within(self, index: int, box: Interval) -> Interval:
        """Return a step's box cut to what is known of it beforehand."""
        return (
            self._consistent(index, box.within(self.around[index].to(box.lower.dtype))) if index in self.around else box
        )

    def _without_lost(self, index: int, box: Interval, undefined: torch.Tensor | None) -> Interval:
        """Return a box with nothing known of samples that a number of this step, or of one before it, may be lost of.

        A number is lost that has no value, and in floating point one that may have overflowed: what comes after it can
        be NaN, which no later step makes good.
        """
        lost = [self.lost[source] for source in self.steps[index].inputs if source in self.lost]
        if undefined is not None:
            lost.append(undefined)
        if self.rounding.arithmetic is Arithmetic.FLOAT:
            lost.append((box.width.isinf()).flatten(1).any(1))
        if lost:
            self.lost[index] = torch.stack(lost).any(0)
        return box.lost(self.lost[index]) if lost and bool(self.lost[index].any()) else box

    def _entering(self, last: int) -> dict[int, list[int]]:
        """Return for each step that enters steps that are not affine, which."""
        found: dict[int, list[int]] = {}
        for index in sorted(self.ancestors(last)):
            operation = self.steps[index].operation
            if operation is not None and not operation.affine:
                for source in self.steps[index].inputs:
                    found.setdefault(source, []).append(index)
        return found

    def _spent(self, last: int) -> dict[int, list[int]]:
        """Return for each step the boxes that nothing needs after it."""
        stops, waiting = {last}, [last]
        while waiting:
            step = self.steps[waiting.pop()]
            if step.operation is not None and step.operation.affine:
                waiting += step.inputs
                stops.update(step.inputs)
        user = {source: index for index in sorted(self.ancestors(last)) for source in self.steps[index].inputs}
        found: dict[int, list[int]] = {}
        for source, index in user.items():
            if source not in stops:
                found.setdefault(index, []).append(source)
        return found

    def _is_exact(self, index: int) -> bool:
        """Say whether a step's interval cannot be narrowed: one sum over the box, else numbers moved and scaled."""
        sums = 0
        while (operation := self.steps[index].operation) is not None:
            if not operation.affine or len(self.steps[index].inputs) != 1 or (sums and not operation.exact_on_boxes):
                return False
            sums += not operation.exact_on_boxes
            (index,) = self.steps[index].inputs
        return self.inputs.is_box

    def _refine(self, index: int, users: list[int], way: Backwards) -> None:
        """Bound those numbers of a step backwards whose bounds matter to what it enters."""
        box = self.boxes[index]
        wanted = torch.zeros_like(box.lower, dtype=torch.bool)
        for user in users:
            operation = self.steps[user].operation
            assert operation is not None
            wanted |= operation.wanted(box)
        own = self.steps[index]
        known = wanted
        if isinstance(own.operation, Rectifier | Elementwise) and own.inputs[0] in self._narrowed:
            known = wanted | self._narrowed[own.inputs[0]]
            wanted = wanted & ~self._narrowed[own.inputs[0]]  # the others are as narrow as what they are made of
        self._narrowed.setdefault(index, known)
        if not bool(wanted.any()):
            return
        if way == self.lowest and is_map(self.steps[index].shape):
            found = self._by_windows(index, wanted).to(box.lower.dtype)
        else:
            found = self._by_rows(index, wanted, way).to(box.lower.dtype)
        narrow = found.within(box)
        self.boxes[index] = self._consistent(index, narrow)

    def _by_rows(self, index: int, wanted: torch.Tensor, way: Backwards) -> Interval:
        """Return bounds of the wanted numbers, all samples together; infinity elsewhere."""
        flat = wanted.flatten(1)
        count = int(flat.sum(1).max()) if flat.numel() else 0
        numbers = flat.byte().argsort(dim=1, descending=True, stable=True)[:, :count].T
        upper = torch.full(flat.shape, torch.inf, dtype=torch.float64, device=flat.device)
        lower = -upper
        size = max(self._widest(index) * len(flat) * 8, 1)
        for part in numbers.split(max(1, self.memory // size)):
            rows = torch.zeros((*part.shape, flat.shape[1]), dtype=torch.float64, device=flat.device)
            rows = rows.scatter_(2, part[..., None], 1.0).unflatten(2, wanted.shape[1:])
            lower.scatter_(1, part.T, way(index, rows).T)
            upper.scatter_(1, part.T, -way(index, -rows).T)
        lower[~flat], upper[~flat] = -torch.inf, torch.inf  # else a sample's bounds would depend on those beside it
        return Interval(lower.reshape(wanted.shape), upper.reshape(wanted.shape))

    def _by_windows(self, index: int, wanted: torch.Tensor) -> Interval:
        """Return bounds of the wanted numbers of a map, sample by sample; infinity elsewhere."""
        upper = torch.full(wanted.shape, torch.inf, dtype=torch.float64, device=wanted.device).flatten(1)
        lower = -upper
        most = max(1, self.memory // (self._widest(index) * 8))
        for sample, alone in enumerate(self._samples(index)):
            for patch, places in patches(wanted[sample, 0], most):
                lower[sample, places] = alone.lowest_near(index, patch)
                upper[sample, places] = -alone.lowest_near(index, replace(patch, rows=-patch.rows))
        return Interval(lower.reshape(wanted.shape), upper.reshape(wanted.shape))

    def lowest_near(self, start: int, patch: Patch) -> torch.Tensor:
        """Return what `lowest` does of one sample (rows,), for rows that fill a window of the step's map."""
        if self.late():
            raise TimeUpError
        near: dict[int, Patch] = {start: patch}
        found = torch.zeros((len(patch.rows), 1), dtype=torch.float64, device=patch.rows.device)
        while near:
            index = max(near)
            here, step = near.pop(index), self.steps[index]
            if step.operation is None and self.inputs.is_box:
                found = found + self.inputs.cropped(here.window.of).lowest(here.rows)
                continue
            gone = None
            if step.operation is not None:
                relaxation, slack = self.relaxation(index)
                gone = back(step.operation, relaxation, here)
            if gone is None:
                near[index] = here
                whole = {source: part.whole(self.steps[source].shape) for source, part in near.items()}
                return self._certain(start, found + self._onwards(whole))[:, 0]
            found = found + gone[1] - total(here.rows.abs(), here.window.of(slack))
            for source, part in zip(step.inputs, gone[0], strict=True):
                if part is None:
                    continue
                near[source] = near[source] + part if source in near else part
        return self._certain(start, found)[:, 0]

    def _widest(self, last: int) -> int:
        return max(torch.Size(self.steps[index].shape).numel() for index in self.ancestors(last))

    def _samples(self, index: int) -> list[Analysis]:
        """Return for each sample what is known of it alone."""
        if len(self.inputs) == 1:
            return [self]
        if not self._alone:
            self._alone = [
                Analysis(self.steps, self.inputs.sample(i), self.rounding, self.memory) for i in range(len(self.inputs))
            ]
        for sample, alone in enumerate(self._alone):
            for known in self.boxes.keys() - alone.boxes.keys() - {index}:
                if known in self.lost:
                    alone.lost[known] = self.lost[known][sample, None]
                alone.boxes[known] = Interval(
                    self.boxes[known].lower[sample, None], self.boxes[known].upper[sample, None]
                )
        return self._alone
