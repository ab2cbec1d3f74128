"""Search by cutting what enters activations: for networks of many inputs (beta-CROWN, Wang et al. 2021).

The boxes of inner numbers are those of the whole region. A part adds to them on which side of a threshold some numbers
lie: the linear bounds of what they enter become narrower, and each such constraint goes into the bound with a
multiplier of its own, which is raised together with the free slopes. Any multiplier that is not negative is sound.
Where a case has several rows, their mixture is bounded, too, with weights that are raised as well: rows that can all be
met, but never at once, are refuted by it alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from xai.robustness.bounds.analysis import Analysis, Cuts
from xai.robustness.bounds.elementwise import Elementwise, Lines, Rectifier
from xai.robustness.bounds.interval import Interval
from xai.robustness.bounds.operation import picked, shares, snapped
from xai.robustness.verify.domains import Domain, Split, box_of, filled, repeated
from xai.robustness.verify.problem import SHARES, Problem
from xai.robustness.verify.ways import Looked, Way

ITERATIONS = 20
RATE, DECAY = 0.1, 0.98
CANDIDATES = 6  # splits that are remembered of a part
WORK = 10**8  # multiply-adds of a pass that a batch may take: time is asked between batches
MEMORY = 64 * 2**20  # bytes of coefficients that a batch may take at its widest step


@dataclass
class Free:
    """What is open to choice in a batch of parts, each (rows, parts, ...).

    Args:
        slopes: of the lines below, by step.
        prices: multipliers of the constraints, by step; not negative.
        sides: (parts, ...) on which side of its threshold each number lies, by step; 0 for neither.
        at: (parts, ...) the thresholds.
        logits: (parts, rows) of the weights of rows in their mixture; none where rows are not mixed.
    """

    slopes: dict[int, torch.Tensor]
    prices: dict[int, torch.Tensor]
    sides: dict[int, torch.Tensor]
    at: dict[int, torch.Tensor]
    logits: torch.Tensor | None = None

    @property
    def open(self) -> list[torch.Tensor]:
        """All of it that is raised."""
        return [*self.slopes.values(), *self.prices.values(), *([] if self.logits is None else [self.logits])]

    @property
    def weights(self) -> torch.Tensor:
        """What each row (parts, rows) counts in the mixture, in whole parts; the gradient is the exact share's."""
        assert self.logits is not None
        share = self.logits.softmax(1)
        return share + ((share * SHARES).round() / SHARES - share).detach()

    @property
    def cuts(self) -> Cuts:
        """The constraints, as they enter the bounds."""
        return {step: (-price * self.sides[step], self.at[step]) for step, price in self.prices.items()}

    def taken(self, where: torch.Tensor, other: Free) -> Free:
        """Return this where (rows, parts) says so, another elsewhere."""
        slopes, prices = picked(where, self.slopes, other.slopes), picked(where, self.prices, other.prices)
        logits = None
        if self.logits is not None and other.logits is not None:
            logits = torch.where(where[-1][:, None], self.logits, other.logits).detach()
        return replace(self, slopes=slopes, prices=prices, logits=logits)

    def clamp(self, limits: dict[int, tuple[torch.Tensor, torch.Tensor]]) -> None:
        """Move it back to where it may be, and to slopes that a proof can be written with."""
        with torch.no_grad():
            for step, slope in self.slopes.items():
                slope.copy_(snapped(slope).clamp(*limits[step]))
            for price in self.prices.values():
                price.clamp_(min=0)


class Activations(Way):
    """Parts by the sides on which numbers lie that enter activations.

    Args:
        problem: what is searched.
        root: the whole region's boxes.
        iterations: steps in which slopes and multipliers are raised.
    """

    name = "activation splitting"

    def __init__(self, problem: Problem, root: Analysis, iterations: int = ITERATIONS) -> None:
        super().__init__(problem)
        self.root = root
        self.iterations = iterations
        widest = max(torch.Size(step.shape).numel() for step in problem.program.steps)
        rows = self._rows = len(problem.case.matrix) + problem.mixes
        self.batch = max(4, min(256, MEMORY // (8 * widest * rows), WORK // (problem.program.work * rows)))
        self._bent = {
            index: step.inputs[0]
            for index, step in enumerate(problem.program.steps)
            if isinstance(step.operation, Rectifier | Elementwise)
        }

    def look(self, domains: Sequence[Domain]) -> Looked:
        """Bound some parts."""
        analysis = self._analysis(domains)
        free = self._free(analysis, domains)
        best, seen, free = self._raised(analysis, free, domains)
        if analysis.empty is not None:
            best = torch.where(analysis.empty, torch.inf, best)
        row = best.argmax(0)
        parts = torch.arange(len(domains), device=best.device)
        nexts = self._next(analysis, {step: rows[row, parts] for step, rows in seen.items()}, domains)
        slope = seen[0][row, parts]
        box = analysis.inputs.box
        nexts = [cuts or self._of_input(number, box, slope) for number, cuts in enumerate(nexts)]
        points = torch.where(slope > 0, box.lower, box.upper)[:, 0]
        found = [
            replace(
                domain,
                bound=max(domain.bound, float(best[row[number], number])),
                next=nexts[number],
                state=self._state(analysis, free, number, int(row[number]) if best[row[number], number] > 0 else None),
            )
            for number, domain in enumerate(domains)
        ]
        return Looked(tuple(found), points)

    @torch.no_grad()
    def _state(
        self, analysis: Analysis, free: Free, number: int, row: int | None
    ) -> dict[str, dict[int, torch.Tensor]]:
        """Return what a part goes on with; if a row of it is decided, what proves that."""
        if row is None:
            return {
                "slopes": {step: slopes[:, number].detach() for step, slopes in free.slopes.items()},
                "prices": {step: prices[:, number].detach() for step, prices in free.prices.items()},
                "logits": {} if free.logits is None else {0: free.logits[number].detach()},
            }
        least = {step: low for step, (_, low, _) in analysis.slopes(self.problem.program.output, 1).items()}
        return {
            "row": {0: torch.tensor(row)},
            "weights": {0: free.weights[number].clone()} if row == len(self.problem.case.matrix) else {},
            "shares": {
                step: shares(slopes[row, number], least[step].expand(slopes.shape[1:])[number])
                for step, slopes in free.slopes.items()
            },
            "prices": {step: prices[row, number].clone() for step, prices in free.prices.items()},
        }

    def _analysis(self, domains: Sequence[Domain]) -> Analysis:
        """Return the whole region's boxes, cut by each part's splits."""
        count, root = len(domains), self.root
        cut = {split.step for domain in domains for split in domain.splits}
        boxes = {index: repeated(box, count) for index, box in root.boxes.items()}
        boxes |= {index: box_of(boxes[index], domains, index) for index in cut}
        inputs = replace(root.inputs.repeated(count), box=boxes[0])
        none = torch.zeros(count, dtype=torch.bool, device=inputs.centre.device)
        found = Analysis(root.steps, inputs, root.rounding, root.memory, boxes, root.late, none)
        if 0 in cut:
            with torch.no_grad():
                found.spread(self.problem.program.output, found.lowest)
        else:
            found.boxes, found.lost = boxes, {index: lost.expand(count) for index, lost in root.lost.items()}
        return found

    def _free(self, analysis: Analysis, domains: Sequence[Domain]) -> Free:
        rows = self._rows
        starts = analysis.slopes(self.problem.program.output, rows).items()
        slopes = filled(domains, "slopes", {step: start.transpose(0, 1) for step, (start, _, _) in starts})
        sides, at = {}, {}
        for step in {split.step for domain in domains for split in domain.splits} - {0}:
            nothing = torch.full_like(analysis.boxes[step].lower, torch.inf)
            held = box_of(Interval(-nothing, nothing), domains, step)
            raised, sunk = held.lower.isfinite(), held.upper.isfinite() & ~held.lower.isfinite()
            sides[step] = raised.double() - sunk.double()
            at[step] = torch.where(raised, held.lower, torch.where(sunk, held.upper, torch.zeros_like(held.lower)))
        none = {step: side[:, None].new_zeros(len(side), rows, *side.shape[1:]) for step, side in sides.items()}
        prices = filled(domains, "prices", none)
        slopes, prices = (
            {step: part.transpose(0, 1).contiguous() for step, part in own.items()} for own in (slopes, prices)
        )
        logits = None
        if self.problem.mixes:
            blank = torch.zeros((len(domains), rows - 1), dtype=torch.float64, device=analysis.inputs.centre.device)
            logits = filled(domains, "logits", {0: blank})[0]
        return Free(slopes, prices, sides, at, logits)

    def _asked(self, free: Free, parts: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the rows (rows, parts, ...) that are bounded, and their limits (rows, parts)."""
        rows, limits = self.problem.rows(parts), self.problem.case.limits[:, None].expand(-1, parts)
        if free.logits is None:
            return rows, limits
        mixture, limit = self.problem.mixed(free.weights)
        return torch.cat([rows, mixture]), torch.cat([limits, limit])

    @torch.enable_grad()
    def _raised(
        self, analysis: Analysis, free: Free, domains: Sequence[Domain]
    ) -> tuple[torch.Tensor, dict[int, torch.Tensor], Free]:
        """Raise the bounds (rows, parts) by what is free.

        Returns:
            The best, the coefficients that were last seen, and what the best were met with.
        """
        problem, last = self.problem, self.problem.program.output
        limits = {step: (low, high) for step, (_, low, high) in analysis.slopes(last, 1).items()}
        open_ = free.open
        for tensor in open_:
            tensor.requires_grad_()
        adam = torch.optim.Adam(open_, lr=RATE) if open_ else None
        device = analysis.inputs.centre.device
        best = torch.full((self._rows, len(domains)), -torch.inf, dtype=torch.float64, device=device)
        met = free.taken(best.isfinite(), free)
        for turn in range(self.iterations + 1):
            seen: dict[int, torch.Tensor] = {}
            rows, most = self._asked(free, len(domains))
            found = analysis.lowest(last, rows, free.slopes, cuts=free.cuts, seen=seen)
            beyond = problem.beyond(found.detach(), most.detach())
            met = free.taken(beyond > best, met)
            best = torch.fmax(best, beyond)
            if adam is None or turn == self.iterations or bool((best > 0).any(0).all()) or self.root.late():
                break
            adam.zero_grad()
            (most - found).sum().backward()
            adam.step()
            for group in adam.param_groups:
                group["lr"] *= DECAY
            free.clamp(limits)
        return best, {step: part.detach() for step, part in seen.items()}, met

    def _of_input(self, part: int, box: Interval, slope: torch.Tensor) -> tuple[Split, ...]:
        """Return the cut of the input that is left for a part that no activation bends any more."""
        if not self.problem.region.is_box:
            return ()
        lower, middle, upper = (end[part].flatten() for end in (box.lower, box.middle, box.upper))
        able = (middle > lower) & (middle < upper)
        if not bool(able.any()):
            return ()
        score = (slope[part].flatten().abs() + 1e-9) * (upper - lower)
        number = int(torch.where(able, score, torch.full_like(score, -1.0)).argmax())
        return (Split(0, number, float(middle[number]), 1),)

    @torch.no_grad()
    def _next(
        self, analysis: Analysis, seen: dict[int, torch.Tensor], domains: Sequence[Domain]
    ) -> list[tuple[Split, ...]]:
        """Return for each part where a cut promises most: where the linear bounds cost most at the threshold."""
        scores, steps, numbers, ats = [], [], [], []
        for index, source in self._bent.items():
            if index not in seen:
                continue
            box = analysis.boxes[source]
            at, cost = self._cost(analysis, index, box, seen[index])
            flat = cost.flatten(1)
            score, number = flat.topk(min(CANDIDATES, flat.shape[1]), 1)
            scores.append(score)
            numbers.append(number)
            ats.append(at.flatten(1).gather(1, number))
            steps.append(torch.full_like(number, source))
        if not scores:  # nothing bends
            return [()] * len(domains)
        score, step, number, at = (torch.cat(part, 1) for part in (scores, steps, numbers, ats))
        found = []
        order = score.argsort(dim=1, descending=True)[:, :CANDIDATES]
        for part in range(len(domains)):
            picks = [place for place in order[part].tolist() if score[part, place] > 0]
            found.append(tuple(Split(int(step[part, i]), int(number[part, i]), float(at[part, i]), 1) for i in picks))
        return found

    def _cost(
        self, analysis: Analysis, index: int, box: Interval, rows: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return where a step's inputs (parts, ...) would be cut, and what the lines cost there."""
        operation = self.problem.program.steps[index].operation
        lines, _ = analysis.relaxation(index)
        assert operation is not None
        if not isinstance(lines, Lines):
            return box.middle, torch.zeros_like(box.lower)
        inside = operation.wanted(box)
        at = torch.zeros_like(box.lower) if isinstance(operation, Rectifier) else box.middle
        true = operation.value(at)
        below = true - (lines.low_slope * at + lines.low)
        above = lines.high_slope * at + lines.high - true
        cost = rows.clamp(min=0) * below - rows.clamp(max=0) * above
        return at, torch.where(inside & (at > box.lower) & (at < box.upper), cost, torch.zeros_like(cost))
