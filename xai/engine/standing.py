"""What is left standing: accuracy under attack, smallest changes, and what was claimed but not confirmed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from xai.engine.threat import AttackPlan
from xai.reports.intervals import CONFIDENCE, clopper_pearson, trials_needed
from xai.reports.records import Value
from xai.robustness.attacks.base import Attack

WANTED = 0.01  # half of the interval's width that the sample size is told for


class Standing:
    """The rows of all shards, as columns.

    Args:
        rows: of all images.
        plan: the threat model.
    """

    def __init__(self, rows: Iterable[Mapping[str, Any]], plan: AttackPlan) -> None:
        kept = [
            (
                np.inf if row["distance"] is None else row["distance"],
                row["right"],
                row["labelled"],
                row["attacked"],
                row.get("confirmed", True),
                row.get("rounded", ""),
                row["finite"],
            )
            for row in rows
        ]
        columns = list(zip(*kept, strict=True)) or [()] * 7
        self.plan = plan
        self.found = np.array(columns[0], dtype=float)
        self.right, self.labelled, self.attacked, self.confirmed = (np.array(c, dtype=bool) for c in columns[1:5])
        self.rounded = np.array(columns[5], dtype=object)
        self.finite = np.array(columns[6], dtype=bool)
        self.distance = np.where(self.right, self.found, 0.0)

    def __len__(self) -> int:
        """Return how many images there are."""
        return len(self.found)

    def share(self, hits: np.ndarray, of: str, base: np.ndarray | None = None) -> Value:
        """Return a share with its Clopper-Pearson interval: of all images, or of those in base."""
        total = len(self) if base is None else int(base.sum())
        count = int((hits if base is None else hits & base).sum())
        return Value(value=count / total if total else None, unit=of, n=total, interval=clopper_pearson(count, total))

    def stands(self, epsilon: float) -> np.ndarray:
        """Say which images are right and have no adversarial input within epsilon that was found."""
        return self.right & (self.distance > epsilon)

    def curve(self) -> dict[str, Value]:
        """Return accuracy, and accuracy under attack at each epsilon, as shares of all images."""
        of = "share of all images"
        found = {"accuracy": self.share(self.right, of)}
        if self.labelled.any() and not self.labelled.all():
            found["accuracy where labelled"] = self.share(self.right, "share of the labelled images", self.labelled)
        for name, epsilon in self.plan.epsilons.items():
            found[f"robust accuracy at {name}"] = self.share(self.stands(epsilon), of)
        return found

    def values(self) -> dict[str, Value]:
        """Return everything that is measured of the whole."""
        found = self.curve()
        for name, epsilon in self.plan.epsilons.items():
            fell = self.attacked & self.confirmed & (self.distance <= epsilon)
            found[f"success rate at {name}"] = self.share(
                fell, "share of the attacked images, all right at first", self.attacked
            )
        fell = self.attacked & np.isfinite(self.found)
        if self.plan.minima:
            found |= self._minima()
        found["claimed"] = Value(value=int(fell.sum()), unit="images", n=int(self.attacked.sum()))
        found["not confirmed"] = Value(value=int((fell & ~self.confirmed).sum()), unit="images", n=int(fell.sum()))
        if (self.rounded != "").any():
            for state in ("stands", "falls", "leaves the region"):
                hits = fell & (self.rounded == state)
                found[f"8-bit rounding: {state}"] = self.share(hits, "share of the adversarial images", fell)
        share = found["accuracy"].value
        for name in self.plan.epsilons:
            share = found[f"robust accuracy at {name}"].value
        if isinstance(share, float):
            needed = trials_needed(share, WANTED)
            found["images for an interval of +-1 point"] = Value(
                value=needed, unit=f"images, {CONFIDENCE:.0%} confidence"
            )
        return found

    def _minima(self) -> dict[str, Value]:
        """Return medians of the smallest changes; where sizes were asked for, searches end there and know none."""
        return {
            "smallest change, median": Value(
                value=_median(self.distance),
                unit=f"{self.plan.norm}, over all images; 0 for those wrong at first",
                n=len(self),
            ),
            "smallest change, median of those right": Value(
                value=_median(self.distance[self.right]),
                unit=f"{self.plan.norm}, over images right at first",
                n=int(self.right.sum()),
            ),
        }

    def unconfirmed(self) -> np.ndarray:
        """Say which images only fell to something that was not confirmed."""
        fell: np.ndarray = self.attacked & np.isfinite(self.found) & ~self.confirmed
        return fell

    def curve_arrays(self) -> dict[str, np.ndarray]:
        """Return the whole curve: at each distance found, the share of all images that stand beyond it."""
        finite = np.sort(self.distance[np.isfinite(self.distance)])
        sizes = np.unique(np.concatenate([[0.0], finite, list(self.plan.epsilons.values())]))
        beyond = len(self) - np.searchsorted(np.sort(self.distance), sizes, side="right")
        return {"epsilons": sizes, "robust accuracy": beyond / max(len(self), 1)}


def tallied(attack: Attack, tallies: Iterable[Mapping[str, Any]], images: int) -> dict[str, Value]:
    """Return what one attack did: tried on, felled, passes an image."""
    own = [tally for tally in tallies if tally["attack"] == attack.about.name]
    found: dict[str, Value] = {}
    for name in dict.fromkeys(tally["epsilon"] for tally in own):
        some = [tally for tally in own if tally["epsilon"] == name]
        where = f" at {name}" if name else ""
        tried, fell = (sum(tally[key] for tally in some) for key in ("tried", "fell"))
        found[f"tried{where}"] = Value(value=tried, unit="images that stood before it", n=images)
        found[f"fell{where}"] = Value(value=fell, unit="images", n=tried)
    for key, unit in (("forwards", "inputs through the model"), ("backwards", "gradients")):
        found[key] = Value(value=sum(tally[key] for tally in own), unit=unit)
    return found


def _median(values: np.ndarray) -> float | None:
    """Return the median, None if it is not known: for half of the images nothing was found."""
    middle = float(np.median(values)) if len(values) else np.inf
    return middle if np.isfinite(middle) else None
