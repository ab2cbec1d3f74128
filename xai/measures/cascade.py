"""Cascading randomisation: how does the map change while the model forgets, from the output to the input?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from pydantic import Field

from xai.errors import NotApplicableError
from xai.measures.base import Judgement, Measure, Subject, decided, rank_correlation
from xai.models.redrawn import Copies, redraw, trained_layers
from xai.registry import Kind, Method, Need
from xai.reports.records import Value
from xai.runtime import Runtime

UNIT = "absolute rank correlation"


class Cascade(Measure):
    """Cascading model parameter randomisation (Adebayo et al. 2018)."""

    about = Method(
        name="cascade",
        title="Cascading randomisation",
        summary=(
            "Draws the layers anew one after the other, from the output to the input, and compares the maps: in the "
            "end no trained parameter is left, and the map should have little in common with the first."
        ),
        limits=(
            "The architecture alone, without training, favours some places, so a small correlation may stay, and "
            "running statistics of normalisations are not drawn anew. Each depth is the median of a few draws."
        ),
        source="Adebayo et al. 2018, Sanity Checks for Saliency Maps",
        kind=Kind.STATISTICAL,
        needs=frozenset({Need.GRAPH}),
    )

    depths: int = Field(default=4, ge=1, le=1000, description="depths at which the maps are compared, evenly spread")
    draws: int = Field(default=5, ge=5, le=100, description="copies at each depth")
    line: float = Field(default=0.5, gt=0, lt=1, description="median absolute correlation from which a map is doubted")

    def judge(self, subject: Subject, runtime: Runtime) -> Judgement:
        """Draw ever more layers, and explain every copy."""
        graph = subject.model.graph
        assert graph is not None
        layers = trained_layers(graph)
        counts = sorted({round(1 + share * (len(layers) - 1)) for share in np.linspace(0, 1, self.depths)})
        copies = [
            redraw(graph, [name for layer in layers[:count] for name in layer])
            for count in counts
            for _ in range(self.draws)
        ]
        found = []
        for number, tensors in enumerate(copies):
            runtime.progress(self.about.title, number, len(copies))
            one = Copies(graph, [tensors])
            (other,) = subject.again(replace(subject.model, graph=one, forward=one), subject.x, [subject.target])
            found.append(rank_correlation(subject.map, other))
        depths = np.abs(np.array([np.nan if value is None else value for value in found])).reshape(-1, self.draws)
        blank = int(np.isnan(depths).sum())
        medians = [float(np.median(row[~np.isnan(row)])) if (~np.isnan(row)).any() else None for row in depths]
        last = depths[-1][~np.isnan(depths[-1])]
        if not len(last):
            raise NotApplicableError("the maps of the wholly re-drawn models are blank")
        speaks = decided(last, self.draws, self.line)
        said = ", ".join("blank" if median is None else f"{median:.2f}" for median in medians)
        ends = {
            "for": "in the end little of the map is left.",
            "neither": "in the end more or less of the map is left, from draw to draw.",
            "against": "the map stays much the same without anything that was trained.",
        }
        return Judgement(
            sentence=(
                "While the model forgets, from the output to the input, the median absolute rank correlation with the "
                f"map goes {said}: {ends[speaks]}"
            ),
            speaks=speaks,
            values={
                **{
                    f"{count} of {len(layers)} layers": Value(value=median, unit=UNIT, n=int((~np.isnan(row)).sum()))
                    for count, median, row in zip(counts, medians, depths, strict=True)
                },
                "blank maps": Value(value=blank, unit=f"of {len(copies)}"),
            },
            arrays={"correlations": depths},
        )
