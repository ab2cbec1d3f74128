"""Randomisation of the head: does the map depend on what the model's last layer has learnt?"""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import torch
from pydantic import Field

from xai.errors import NotApplicableError
from xai.measures.base import Judgement, Measure, Subject, decided, median_interval, rank_correlation
from xai.models.graph import Graph
from xai.models.redrawn import Copies, redraw, trained_layers
from xai.registry import Kind, Method, Need
from xai.reports.records import Speaks, Value
from xai.runtime import Runtime

UNIT = "absolute rank correlation"


class Randomisation(Measure):
    """Model parameter randomisation of the last layer (Adebayo et al. 2018), over many draws."""

    about = Method(
        name="randomisation",
        title="Randomised head",
        summary=(
            "Draws the model's last layer anew, many times, and compares the maps: one that hardly changes does not "
            "show what the model has learnt about this target."
        ),
        limits=(
            "A map that changes can still be wrong. One draw alone is noise, so the median counts; the line that it is "
            "held against is a convention."
        ),
        source="Adebayo et al. 2018, Sanity Checks for Saliency Maps",
        kind=Kind.STATISTICAL,
        needs=frozenset({Need.GRAPH}),
        default=True,
    )

    draws: int = Field(default=20, ge=10, le=1000, description="copies whose head is drawn anew")
    line: float = Field(default=0.5, gt=0, lt=1, description="median absolute correlation from which a map is doubted")

    def judge(self, subject: Subject, runtime: Runtime) -> Judgement:  # noqa: ARG002  # the method makes the batches
        """Explain all copies at once: they share everything below the head."""
        graph = subject.model.graph
        assert graph is not None
        head = trained_layers(graph)[0]
        drawn = [redraw(graph, head) for _ in range(self.draws)]
        maps = self._maps(subject, graph, drawn)
        found = [rank_correlation(subject.map, other) for other in maps]
        sizes = np.abs([value for value in found if value is not None])
        if not len(sizes):
            raise NotApplicableError(f"the maps of all {self.draws} copies are blank")
        pairs = [rank_correlation(one, other) for one, other in combinations(maps, 2)]
        among = np.abs([value for value in pairs if value is not None])
        blank = self.draws - len(sizes)
        median, interval = float(np.median(sizes)), median_interval(sizes)
        speaks = decided(sizes, self.draws, self.line)
        return Judgement(
            sentence=_sentence(self.draws, median, blank, speaks),
            speaks=speaks,
            values={
                "median": Value(value=median, unit=UNIT, n=len(sizes), interval=interval),
                "lowest": Value(value=float(sizes.min()), unit=UNIT),
                "highest": Value(value=float(sizes.max()), unit=UNIT),
                "blank maps": Value(value=blank, unit=f"of {self.draws}"),
                "copies among each other": Value(
                    value=float(np.median(among)) if len(among) else None, unit=f"median {UNIT}", n=len(among)
                ),
            },
            chosen={"head": ", ".join(name.removeprefix("network.") for name in head)},
            arrays={"correlations": np.array([np.nan if value is None else value for value in found])},
        )

    def _maps(self, subject: Subject, graph: Graph, drawn: list[dict[str, torch.Tensor]]) -> list[np.ndarray]:
        """Return each copy's map: all at once, or one by one where the map looks at what differs."""
        classes = len(subject.model.classes)
        targets = [subject.target.moved(copy * classes) for copy in range(len(drawn))]
        copies = Copies(graph, drawn)
        try:
            return subject.again(replace(subject.model, graph=copies, forward=copies), subject.x, targets)
        except NotApplicableError:
            singles = [Copies(graph, [tensors]) for tensors in drawn]
            return [
                found
                for one in singles
                for found in subject.again(replace(subject.model, graph=one, forward=one), subject.x, [subject.target])
            ]


def _sentence(draws: int, median: float, blank: int, speaks: Speaks) -> str:
    """Say how far the map depends on the head."""
    if 2 * (draws - blank) < draws:
        return f"With another head on the same features most maps are blank ({blank} of {draws}): nothing is decided."
    blanks = f", {blank} more were blank" if blank else ""
    found = f"(median absolute rank correlation {median:.2f} over {draws - blank} maps{blanks})"
    return {
        "for": f"With another head on the same features the map is another one {found}.",
        "neither": f"With another head on the same features the map changes now more, now less {found}.",
        "against": f"With another head on the same features the map stays much the same {found}: it shows where the "
        "features answer more than what the head learnt about this target.",
    }[speaks]
