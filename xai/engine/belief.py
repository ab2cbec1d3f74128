"""Can an accuracy under attack be believed? The alarms of a plan, on some of the images, after the attacks."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch

from xai.data.dataset import DataSet
from xai.engine.attempt import Attempt, attempt
from xai.engine.choice import beyond
from xai.engine.outcome import Outcome
from xai.engine.standing import Standing
from xai.engine.threat import AttackPlan
from xai.engine.trust import trust_record
from xai.models.model import Model
from xai.reports.records import Scalar, Trust
from xai.robustness.alarms.base import Alarm, Signal, Subject
from xai.robustness.search import Case
from xai.robustness.victim import Victim
from xai.runtime import Runtime

MOST = 64  # images
BATCH = 256
TELLING = (0.05, 0.95)  # of the images that are right: where some fall and some stand, a difference can be seen


@dataclass(frozen=True)
class Belief:
    """What was attacked, and what came of it.

    Args:
        model: that was attacked.
        data: images.
        plan: the threat model, with the alarms.
        outcome: of the attacks.
        runtime: device, seed, threads, memory, progress.
    """

    model: Model
    data: DataSet
    plan: AttackPlan
    outcome: Outcome
    runtime: Runtime

    def trust(self) -> tuple[Trust, ...]:
        """Listen to every alarm; one that does not apply is skipped, one that breaks has failed."""
        if not self.plan.alarms:
            return ()
        with self.runtime.seeded("alarms"), torch.no_grad():
            subject = self._subject()
        count = len(self.plan.alarms)
        found = []
        for place, alarm in enumerate(self.plan.alarms):
            self.runtime.progress(f"can it be believed? {alarm.about.title}", place, count)
            found.append(self._listen(alarm, subject))
        return tuple(found)

    def _listen(self, alarm: Alarm, subject: Subject | str) -> Trust:
        about = alarm.about
        reason = self._hindrance(alarm, subject)
        tried: Attempt[Signal] = Attempt("skipped", None, reason, 0.0)
        used: dict[str, Scalar] = {}
        if not reason and isinstance(subject, Subject):
            tried = attempt(about.name, lambda: alarm.listen(subject))
            used = {"images": len(subject), "norm": subject.region.norm.value, "epsilon": subject.region.epsilon}
        said = tried.answer or Signal("", "neither", {})
        return trust_record(about, tried, {**alarm.model_dump(mode="json"), **used, **said.chosen})

    def _hindrance(self, alarm: Alarm, subject: Subject | str) -> str:
        """Return why an alarm cannot be listened to, or ""."""
        return beyond(alarm.about, self.model) or (subject if isinstance(subject, str) else "")

    def _subject(self) -> Subject | str:
        """Return the first images that were attacked, in the region that tells the most; or why there are none."""
        epsilon = telling(Standing(self.outcome.rows(), self.plan))
        if epsilon is None:
            return "no size of a change was asked for, and none was found"
        rows = self._first()
        places = (place for place in range(len(self.data)) if self.data.id(place) in rows)
        samples = self.data.read_many([place for _, place in zip(rows, places, strict=False)]).samples
        if not samples:
            return "no image was attacked: the model gets none right"
        model, plan = self.model, self.plan
        batch = self.runtime.batch(2 * model.bytes_per_input, BATCH)
        x = torch.stack([sample.input for sample in samples]).to(model.device)
        label = torch.tensor([rows[sample.id]["label"] for sample in samples], device=model.device)
        found = [rows[sample.id]["distance"] for sample in samples]
        felled = torch.tensor([one is not None and one <= epsilon for one in found], device=model.device)
        wanted = None if plan.wanted is None else torch.full_like(label, plan.wanted)
        clean = torch.cat([Victim(model).scores(part) for part in x.split(batch)])
        case = Case(x, label, wanted, clean)
        return Subject(model, case, plan.region(model, epsilon), self.runtime, batch, plan.surrogate, felled)

    def _first(self) -> dict[str, dict[str, Any]]:
        """Return the rows of the first images that were attacked, by id."""
        attacked = (row for row in self.outcome.rows() if row["attacked"])
        return {row["id"]: row for row in islice(attacked, MOST)}


def telling(standing: Standing) -> float | None:
    """Return the epsilon at which alarms can tell the most; None if there is none.

    Of the plan's, the one that leaves the share of right images that stand nearest to one half, if that is between 5 %
    and 95 %; else the largest. Without any, the median of the smallest changes that were found.
    """
    right = int(standing.right.sum())
    shares = {
        epsilon: standing.stands(epsilon).sum() / max(right, 1)
        for epsilon in standing.plan.epsilons.values()
        if epsilon
    }
    if not shares:
        found = standing.found[np.isfinite(standing.found) & (standing.found > 0)]
        return float(np.median(found)) if len(found) else None
    low, high = TELLING
    between = [epsilon for epsilon, share in shares.items() if low <= share <= high]
    return min(between, key=lambda epsilon: abs(shares[epsilon] - 0.5)) if between else max(shares)
