"""Pointing game: does the map point at the object, where it is known?"""

from __future__ import annotations

import numpy as np

from xai.errors import NotApplicableError
from xai.measures.base import Judgement, Measure, Subject
from xai.registry import Kind, Method
from xai.reports.records import Value
from xai.runtime import Runtime

SAME = 2.0**-20  # of the largest value: differences below are rounding


class Pointing(Measure):
    """Pointing game (Zhang et al. 2016), and the map's mass within the object's mask."""

    about = Method(
        name="pointing",
        title="Pointing game",
        summary="Whether the map's highest place (of equal ones, most) lies on the object, and how much of the map.",
        limits=(
            "It shows whether the map agrees with a person about where the object is. A model may be right for another "
            "reason, and a map that shows this honestly fails here."
        ),
        source="Zhang et al. 2016, Top-down Neural Attention by Excitation Backprop",
        kind=Kind.EXACT,
        default=True,
    )

    def judge(self, subject: Subject, runtime: Runtime) -> Judgement:  # noqa: ARG002  # nothing is run
        """Compare map and mask."""
        if subject.mask is None:
            raise NotApplicableError("it is not known where the object is; masks say so")
        if not subject.mask.any():
            raise NotApplicableError("the mask is empty")
        area = float(subject.mask.mean())
        highest = subject.map >= subject.map.max() - SAME * np.abs(subject.map).max()
        share = float(subject.mask[highest].mean())
        hit = share >= 0.5
        positive = np.clip(subject.map.astype(np.float64), 0, None)
        mass = float(positive[subject.mask].sum() / positive.sum()) if positive.any() else None
        times = None if mass is None else mass / area
        return Judgement(
            sentence=(
                f"The map's highest place lies {'on' if hit else 'beside'} the object"
                + (
                    "."
                    if mass is None
                    else f", and {100 * mass:.0f} % of what speaks for the target lies on it, which takes "
                    f"{100 * area:.0f} % of the picture."
                )
            ),
            speaks="for" if hit and (times or 0) > 1 else "against" if not hit and (times or 0) < 1 else "neither",
            values={
                "hit": Value(value=hit),
                "highest places": Value(value=share, unit="share of the equally highest that lie on the object"),
                "mass": Value(value=mass, unit="share of the map's positive total that lies on the object"),
                "area": Value(value=area, unit="share of the picture that the object takes"),
                "mass over area": Value(value=times, unit="1 is chance"),
            },
        )
