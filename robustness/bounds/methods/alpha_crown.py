"""alpha-CROWN."""

from __future__ import annotations

import torch

from xai.registry import Kind, Method, Need
from xai.robustness.bounds.analysis import Analysis
from xai.robustness.bounds.methods.base import Bounder
from xai.robustness.bounds.operation import picked, snapped

ITERATIONS = 20
RATE, DECAY = 0.1, 0.98


class AlphaCrown(Bounder):
    """CROWN, and then the free slopes are moved to raise each bound."""

    about = Method(
        name="alpha-crown",
        title="alpha-CROWN",
        summary="CROWN with the slopes that are open to choice optimised for each bound.",
        limits="It is never wrong, but a bound may be far from what the network reaches; it costs some twenty times "
        "what CROWN does.",
        source="Xu et al. 2021, Fast and complete: enabling complete neural network verification with rapid and "
        "massively parallel incomplete verifiers",
        kind=Kind.SOUND,
        needs=frozenset({Need.GRAPH}),
    )

    inner = 2 + 2 * 3 * ITERATIONS  # a gradient costs two passes more

    def prepare(self, analysis: Analysis, last: int) -> None:
        """Narrow each box as soon as it is there, by CROWN first, then with slopes of its own."""

        def risen(step: int, rows: torch.Tensor) -> torch.Tensor:
            return self._risen(analysis, step, rows)

        analysis.spread(last, analysis.lowest, risen)

    def lowest(self, analysis: Analysis, last: int, rows: torch.Tensor) -> torch.Tensor:
        """Return, of CROWN's bounds and those met on the way, the highest."""
        best = torch.fmax(analysis.bounded(last, rows), analysis.bounded(last, rows, boxed=True))
        found = [self._risen(analysis, last, part) for part in rows.split(analysis.chunk(last, rows, spare=8))]
        return torch.fmax(best, torch.cat(found))

    @torch.enable_grad()
    def _risen(self, analysis: Analysis, last: int, rows: torch.Tensor) -> torch.Tensor:
        slopes = analysis.slopes(last, len(rows))
        best = torch.full(rows.shape[:2], -torch.inf, dtype=torch.float64, device=rows.device)
        if not slopes:
            return best
        free = [slope.requires_grad_() for slope, _, _ in slopes.values()]
        adam = torch.optim.Adam(free, lr=RATE)
        kept = {index: slope.detach().clone() for index, (slope, _, _) in slopes.items()}
        schedule = torch.optim.lr_scheduler.ExponentialLR(adam, DECAY)
        for _ in range(ITERATIONS):
            found = analysis.lowest(last, rows, {index: slope for index, (slope, _, _) in slopes.items()})
            if analysis.kept is not None:
                kept = picked(found.detach() > best, {index: slope for index, (slope, _, _) in slopes.items()}, kept)
            best = torch.fmax(best, found.detach())
            adam.zero_grad()
            (-found.sum()).backward()
            adam.step()
            schedule.step()
            with torch.no_grad():
                for slope, low, high in slopes.values():
                    moved = slope if analysis.kept is None else snapped(slope)
                    slope.copy_(moved.clamp(low, high))
        analysis.keep(last, rows, kept)
        return best
