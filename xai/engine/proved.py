"""What all shards proved together: verdicts and largest certified changes as columns, shares with their intervals."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from xai.engine.enclosure import BoundsPlan
from xai.engine.outcome import Outcome
from xai.engine.standing import Standing
from xai.reports.records import Artefact, Value

HOLDS, VIOLATED = "holds", "violated"
ALL = "share of all images"


class Proved:
    """The bounds of all images.

    Args:
        outcome: the shards' answers.
        plan: what was asked.
    """

    def __init__(self, outcome: Outcome, plan: BoundsPlan) -> None:
        self.outcome, self.plan = outcome, plan
        self.arrays: dict[str, Artefact] = {}
        self.breaches: list[dict[str, Any]] = []
        self.points, self.seconds = 0, 0.0
        self.widths = dict.fromkeys(plan.attack.epsilons, (0.0, 0))
        for number, answer in enumerate(outcome.answers()):
            for name, kept in answer["arrays"].items():
                self.arrays[f"{name}/{number:06}"] = Artefact.model_validate(kept)
            self.breaches += answer["breaches"]
            self.points += answer["points"]
            self.seconds += answer["seconds"]
            for name, (total, count) in answer["widths"].items():
                self.widths[name] = self.widths[name][0] + total, self.widths[name][1] + int(count)
        if plan.scored:
            self._judge()

    def rows(self) -> Iterator[tuple[int, int, dict[str, Any]]]:
        """Yield shard, place in its arrays, and row of each image."""
        for number, answer in enumerate(self.outcome.answers()):
            yield from ((number, place, row) for place, row in enumerate(answer["rows"]))

    def values(self) -> dict[str, Value]:
        """Return everything that is measured of the whole."""
        found = self._shares() if self.plan.scored else {}
        for name, (total, count) in self.widths.items():
            mean = total / count if count and np.isfinite(total) else None
            found[f"mean width at {name}"] = Value(
                value=mean, unit="upper minus lower bound, in the outputs' unit", n=count
            )
        found["points tried"] = Value(value=self.points, unit="points of the regions, all inside the bounds")
        return found

    def certified(self, name: str) -> np.ndarray:
        """Say which images are right, and were proved to be so within that size of the change."""
        held: np.ndarray = self.standing.right & self.holds[name]
        return held

    def curves(self) -> dict[str, np.ndarray]:
        """Return both sides of the truth over the size of the change.

        Of a share that is certified at a size, as much is at every smaller one; of one that stands under attack at a
        size, no more does at any larger one.
        """
        attacked = self.standing.curve_arrays()
        reach = np.where(self.standing.right, self.reach, -1.0)
        sizes = np.unique(np.concatenate([[0.0], list(self.plan.attack.epsilons.values()), reach[reach > 0]]))
        beyond = len(reach) - np.searchsorted(np.sort(reach), sizes, side="left")
        return {
            "certified epsilons": sizes,
            "certified accuracy": beyond / max(len(reach), 1),
            "attacked epsilons": attacked["epsilons"],
            "attacked accuracy": attacked["robust accuracy"],
        }

    def _judge(self) -> None:
        plan, rows = self.plan, list(self.outcome.rows())
        self.standing = Standing(rows, plan.attack)
        lost = self.standing.unconfirmed()  # what was claimed and not confirmed takes nothing away
        self.standing.distance = np.where(lost, np.inf, self.standing.distance)
        self.holds = {
            name: np.array([row["verdicts"][name] == HOLDS for row in rows], dtype=bool)
            for name in plan.attack.epsilons
        }
        self.rounding = sum(row["rounding"] for row in rows)
        self.reach = np.zeros(len(rows))
        for name, epsilon in plan.attack.epsilons.items():
            self.reach = np.where(self.holds[name], np.maximum(self.reach, epsilon), self.reach)
        if plan.largest:
            self.reach = np.maximum(self.reach, [row["largest"] for row in rows])

    def _shares(self) -> dict[str, Value]:
        standing, plan = self.standing, self.plan
        found = {"accuracy": standing.share(standing.right, ALL)}
        if standing.labelled.any() and not standing.labelled.all():
            labelled = standing.share(standing.right, "share of the labelled images", standing.labelled)
            found["accuracy where labelled"] = labelled
        for name, epsilon in plan.attack.epsilons.items():
            certified = self.certified(name)
            found[f"certified accuracy at {name}"] = standing.share(certified, ALL).model_copy(
                update={"bound": "least"}
            )
            if plan.attack.attacks:
                stands = standing.stands(epsilon)
                found[f"accuracy under attack at {name}"] = standing.share(stands, ALL)
                found[f"not decided at {name}"] = standing.share(stands & ~certified, ALL)
            else:
                found[f"not decided at {name}"] = standing.share(standing.right & ~certified, ALL)
        if plan.largest:
            found |= self._largest()
        return found

    def _largest(self) -> dict[str, Value]:
        reach, right = np.where(self.standing.right, self.reach, 0.0), self.standing.right
        told = f"{self.plan.attack.norm}, over all images; 0 for those wrong at first"
        found = {
            "largest certified change, median": Value(value=_median(reach), unit=told, n=len(reach), bound="least")
        }
        own = f"{self.plan.attack.norm}, over images right at first"
        found["largest certified change, median of those right"] = Value(
            value=_median(reach[right]), unit=own, n=int(right.sum()), bound="least"
        )
        return found


def _median(values: np.ndarray) -> float | None:
    return float(np.median(values)) if len(values) else None
