"""What detectors say of single images, and why: families' agreement, known images that are alike, maps of the score."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from xai.data.samples import Sample
from xai.engine.attempt import attempt
from xai.engine.findings import Analysis
from xai.engine.ood.detector import Detector
from xai.engine.ood.watch import Row, Scored, Watch, tabled
from xai.engine.ood.words import UNKNOWN, sentence, title_of, verdict
from xai.engine.plan import missing, plan_explain
from xai.explainers.base import Explainer
from xai.models.model import Model
from xai.models.targets import Target
from xai.reports.artefacts import Store, put, put_rows
from xai.reports.records import Artefact, Finding, Value
from xai.robustness.ood.gallery import directions
from xai.robustness.ood.guard import COMBINED, Guard
from xai.robustness.ood.target import foreignness
from xai.runtime import Runtime

VERDICT = "ood-verdict"
ALIKE = 5


def judged(rows: Sequence[Row], guard: Guard) -> list[Row]:
    """Return rows with what the guard says of their scores, which it replaces: by detector and combination."""
    columns = tabled(rows)
    found = guard.judge(columns) if columns else {}
    said: list[Row] = []
    place = 0
    for row in rows:
        others = {key: value for key, value in row.items() if key != "scores"}
        by: dict[str, Any] = {}
        if row["scores"] is not None:
            by = {
                name: {
                    "score": float(one.scores[place]),
                    "p": float(one.p_values[place]),
                    "inside": bool(one.inside[place]),
                }
                for name, one in found.items()
            }
            place += 1
        said.append({**others, "verdict": verdict(by[COMBINED]["inside"] if by else None), "by": by})
    return said


def judged_all(scored: Scored, guard: Guard) -> Iterator[tuple[int, Row]]:
    """Yield every row of a data set, judged, with the number of its shard."""
    for number, answer in enumerate(scored.outcome.answers()):
        for row in judged(answer["rows"], guard):
            yield number, row


@dataclass(frozen=True)
class Watchman:
    """Tells of single images.

    Args:
        model: that is watched.
        detector: fitted to it.
        runtime: device, seed, threads, memory, progress.
        store: keeps the arrays.
    """

    model: Model
    detector: Detector
    runtime: Runtime
    store: Store

    @cached_property
    def watch(self) -> Watch:
        """The detectors before the model."""
        return Watch(self.model, self.detector.guard.fitted, self.runtime, self.detector.guard)

    @property
    def families(self) -> list[str]:
        """The families of evidence that have a verdict of their own."""
        return [name for name in self.detector.guard.combinations if name != COMBINED]

    def verdict(self, sample: Sample, row: Row | None = None) -> Finding:
        """Return what is said of one image.

        Args:
            sample: the image.
            row: what was said of it already; None: it is looked at.
        """
        tried = attempt(f"the verdict on {sample.id}", lambda: self._found(sample, row))
        if tried.answer is None:
            return _blank(sample).model_copy(update={"status": tried.status, "reason": tried.reason})
        return tried.answer.model_copy(update={"seconds": tried.seconds})

    def maps(self, sample: Sample) -> list[Finding]:
        """Return maps of the combined score: where the image is foreign."""
        model, target, methods = self._explained
        analysis = Analysis(model, (), self.runtime, self.store)
        return [finding for method in methods for finding in analysis.of(method, sample, [target])]

    @cached_property
    def _explained(self) -> tuple[Model, Target, list[Explainer]]:
        """The score as a model with a target, and the default explainers that can ask why it is high."""
        model, target = foreignness(self.model, self.detector.guard)
        methods = plan_explain(model, measures_named="none").methods
        return model, target, [one for one in methods if one.about_target() and not missing(one, model)]

    def _found(self, sample: Sample, row: Row | None) -> Finding:
        told = row or judged(self.watch.shard([sample], _nobody)["rows"], self.detector.guard)[0]
        blank, by = _blank(sample), told["by"]
        settings = {"detector": self.detector.source, "detectors' sha256": self.detector.facts}
        if not by:
            reason = "the model's outputs, or scores of them, are NaN or infinite for it"
            values = {"verdict": Value(value=UNKNOWN), "said": Value(value=f"{UNKNOWN}: {reason}")}
            return blank.model_copy(update={"values": values, "parameters": settings})
        calibration = self.detector.guard.calibrations[COMBINED]
        out = [name for name in self.families if not by[name]["inside"]]
        whole, count = by[COMBINED], len(calibration.scores)
        values = {
            "verdict": Value(value=told["verdict"]),
            "said": Value(value=sentence(whole, calibration.threshold.value, out, self.families)),
            "score": Value(value=whole["score"], unit="how surprising all detectors' scores are together"),
            "threshold": Value(value=calibration.threshold.value, unit=f"score, by {calibration.threshold.how}"),
            "p-value": Value(value=whole["p"], unit="conformal: small if few held-back images score as high", n=count),
            "families that say out": Value(value=", ".join(out) or "none", n=len(out)),
            "families": Value(value=", ".join(self.families), n=len(self.families)),
        }
        artefacts = {
            "held": put(self.store, calibration.scores.numpy()),
            "judgements": put_rows(self.store, self._judgements(by)),
        }
        alike, pictures = self._alike(sample)
        return blank.model_copy(
            update={"values": {**values, **alike}, "parameters": settings, "artefacts": {**artefacts, **pictures}}
        )

    def _judgements(self, by: dict[str, Any]) -> Iterator[dict[str, Any]]:
        guard = self.detector.guard
        for name, said in by.items():
            own = guard.fitted.fitted.get(name)
            family = COMBINED if name == COMBINED else str(own.detector.evidence) if own else name
            yield {
                "name": name,
                "title": title_of(name),
                "family": family,
                "single": own is not None,
                **said,
                "threshold": guard.calibrations[name].threshold.value,
            }

    def _alike(self, sample: Sample) -> tuple[dict[str, Value], dict[str, Artefact]]:
        """Return the held-back images whose features are most like this one's."""
        known = self.detector.known
        if known is None:
            return {}, {}
        seen = next(self.watch.seen(sample.input[None]))
        places, cosines = known.gallery.nearest(directions(seen), ALIKE)
        chosen, alike = places[0].tolist(), cosines[0].tolist()
        rows = [{**known.rows[place], "alike": cosine} for place, cosine in zip(chosen, alike, strict=True)]
        name = f"{rows[0]['id']}{', ' + str(rows[0]['label']) if rows[0]['label'] else ''}"
        values = {"most alike": Value(value=name, unit=f"cosine of the features {alike[0]:.4f}", n=len(known.rows))}
        kept = {"alike": put_rows(self.store, rows)}
        if known.pictures is not None:
            kept["alike pictures"] = put(self.store, known.pictures[chosen])
        return values, kept


def _blank(sample: Sample) -> Finding:
    return Finding(
        id=f"verdict/{sample.id}",
        family=VERDICT,
        method="verdict",
        title="Is it known?",
        description="Whether the image is like those that the detectors were calibrated on, by all of them together, "
        "by each family of evidence, and by each alone.",
        limits="In-distribution does not mean that the answer is right, and out-of-distribution not that it is wrong. "
        "A share of the images that the model was made for, which the calibration states, is called "
        "out-of-distribution. An outlier of a kind that no detector sees passes.",
        source="",
        kind="statistical",
        input=sample.id,
        status="ok",
    )


def _nobody(_: int) -> None:
    """Tell nobody."""
