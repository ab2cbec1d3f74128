"""Search by cutting the region itself: for networks of few inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from xai.robustness.bounds.analysis import Analysis
from xai.robustness.bounds.inputs import Inputs
from xai.robustness.bounds.interval import Interval
from xai.robustness.verify.domains import Domain, Split, box_of, repeated, stacked
from xai.robustness.verify.ways import Looked, Way


class Boxes(Way):
    """CROWN on boxes; each is halved in the number that the planes below and above hang on most (Kearfott 1996)."""

    name = "input splitting"
    batch = 64  # small enough for the coefficients to stay in the processor's cache

    @torch.no_grad()
    def look(self, domains: Sequence[Domain]) -> Looked:
        """Bound some boxes."""
        problem = self.problem
        box = box_of(repeated(problem.region.box, len(domains)), domains, 0)
        around = {
            step: Interval(lower, stacked(domains, "upper")[step]) for step, lower in stacked(domains, "lower").items()
        }
        analysis = Analysis(problem.program.steps, Inputs(box, box.middle), problem.rounding, around=around)
        last = problem.program.output
        analysis.spread(last, analysis.lowest)
        seen: dict[int, torch.Tensor] = {}
        rows = problem.rows(len(domains))
        found = analysis.lowest(last, torch.cat([rows, -rows]), seen=seen)[: len(rows)]
        found = problem.beyond(torch.fmax(found, analysis.bounded(last, rows, boxed=True)))
        best, row = found.max(0)
        slope = seen[0].flatten(2)
        scores = slope.abs().mean(0) * box.width.flatten(1) * self._uncut(box)
        corner = torch.where(slope[row, torch.arange(len(row))] > 0, box.lower.flatten(1), box.upper.flatten(1))
        points = torch.cat([corner, box.middle.flatten(1)]).reshape(-1, *box.lower.shape[2:])
        kept = {step: analysis.boxes[step] for step in analysis.narrowed}
        parts = zip(domains, best.tolist(), self._cuts(box, scores), strict=True)
        found_domains = [
            replace(domain, bound=max(bound, domain.bound), next=cut, state=_state(kept, number) if bound <= 0 else {})
            for number, (domain, bound, cut) in enumerate(parts)
        ]
        return Looked(tuple(found_domains), points)

    def _uncut(self, box: Interval) -> torch.Tensor:
        """Return how little each number was cut, beside the one that was cut least: (boxes, numbers) of 0 to 1.

        A plane below the network may be level in a number whose width makes the planes as far apart as they are.
        """
        whole = self.problem.region.box.width.flatten(1)
        share = torch.where(whole > 0, box.width.flatten(1) / whole, torch.zeros_like(whole))
        return (share / share.amax(1, keepdim=True).clamp(min=1e-300)).sqrt()

    def _cuts(self, box: Interval, scores: torch.Tensor) -> list[tuple[Split, ...]]:
        lower, middle, upper = box.lower.flatten(1), box.middle.flatten(1), box.upper.flatten(1)
        scores = torch.where((middle > lower) & (middle < upper), scores, torch.full_like(scores, -1.0))
        score, number = scores.max(1)
        at = middle.gather(1, number[:, None])[:, 0]
        cuts = zip(score.tolist(), number.tolist(), at.tolist(), strict=True)
        return [(Split(0, number, at, 1),) if score >= 0 else () for score, number, at in cuts]


def _state(kept: dict[int, Interval], number: int) -> dict[str, dict[int, torch.Tensor]]:
    return {
        "lower": {step: box.lower[number] for step, box in kept.items()},
        "upper": {step: box.upper[number] for step, box in kept.items()},
    }
