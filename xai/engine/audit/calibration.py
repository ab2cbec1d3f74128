"""Whether the model is as often right as it says: expected calibration error, and the temperature that mends it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from xai.engine.audit.answers import GIVEN, Answers
from xai.reports.artefacts import Store, put
from xai.reports.intervals import clopper_pearson
from xai.reports.records import Finding, Value
from xai.runtime import Runtime

BINS = 15
ROUNDS = 1000
SPAN = (-4.0, 4.0)  # of the temperature's logarithm
NEAR = 1e-3  # to an end of that span
INTERVAL = (2.5, 97.5)


@dataclass(frozen=True)
class Scored:
    """Scores with their labels.

    Args:
        scores: (n, answers) float64, as logits.
        labels: (n,).
    """

    scores: np.ndarray
    labels: np.ndarray

    def sure(self, temperature: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
        """Return the probability of the given answers (n,), and whether they are right (n,)."""
        logs = log_softmax(self.scores / temperature, axis=1)
        return np.exp(logs.max(1)), self.scores.argmax(1) == self.labels

    def loss(self, temperature: float) -> float:
        """Return the mean negative log-likelihood of the labels."""
        logs = log_softmax(self.scores / temperature, axis=1)
        return float(-logs[np.arange(len(logs)), self.labels].mean())

    def part(self, chosen: np.ndarray) -> Scored:
        """Return some of them."""
        return Scored(self.scores[chosen], self.labels[chosen])


def calibration(test: Answers, held: Answers | None, store: Store, runtime: Runtime) -> Finding:
    """Return the calibration error of test images, and after scaling by the temperature that other images gave.

    Args:
        test: the answers to the test images.
        held: those to other images; without them the temperature comes from half of the test images.
        store: keeps the reliability diagram.
        runtime: seed.
    """
    known, digests = _gathered(test)
    blank = _blank(test).model_copy(
        update={"artefacts": {} if held is None else {f"held {name}": one for name, one in held.scores.items()}}
    )
    if test.labels != GIVEN:
        return blank.model_copy(update={"reason": "the right answers of some test images are not known"})
    if not len(known.labels):
        return blank.model_copy(update={"reason": "no output is finite"})
    values = {"ece": _value(known, runtime, "mean gap between certainty and share of right answers")}
    first = _halved(digests)
    fitted, judged, where = (known.part(first), known.part(~first), "half of the test images")
    if held is not None and held.labels == GIVEN:
        fitted, judged, where = _gathered(held)[0], known, "the calibration images"
    sure, right = known.sure()
    arrays = diagram(sure, right)
    if len(fitted.labels) and len(judged.labels):
        temperature, reason = fit_temperature(fitted)
        values["temperature"] = Value(value=temperature, unit=f"fitted on {where}", n=len(fitted.labels), reason=reason)
        after = "with the temperature, on the other images"
        if temperature is None:
            values["ece after scaling"] = Value(value=None, unit=after, n=len(judged.labels), reason=reason)
        else:
            values["ece after scaling"] = _value(judged, runtime, after, temperature)
            arrays |= {f"scaled {name}": array for name, array in diagram(*judged.sure(temperature)).items()}
    values["mean certainty"] = Value(
        value=float(sure.mean()), unit="mean probability of the given answers", n=len(sure)
    )
    return blank.model_copy(
        update={
            "status": "ok",
            "values": values,
            "artefacts": {name: put(store, array) for name, array in arrays.items()} | blank.artefacts,
        }
    )


def fit_temperature(known: Scored) -> tuple[float | None, str]:
    """Return the temperature of least negative log-likelihood (Guo et al. 2017), or None and why there is none.

    The loss is convex in the temperature's inverse. Where every answer is right, it falls as long as the temperature
    does; where labels have no higher scores than other answers have, it falls as long as the temperature rises.
    """
    own = known.scores[np.arange(len(known.labels)), known.labels]
    if (own >= known.scores.max(1)).all():
        return None, f"all {len(own)} images that it is fitted on are right: the smaller, the better it fits them"
    if own.mean() <= known.scores.mean():
        return None, f"on the {len(own)} images that it is fitted on, scores tell nothing of what is right"
    log = minimize_scalar(lambda log: known.loss(np.exp(log)), bounds=SPAN, method="bounded").x
    if min(log - SPAN[0], SPAN[1] - log) < NEAR:
        low, high = np.exp(SPAN)
        return None, f"it is not between {low:.3g} and {high:.3g}, where it was looked for"
    return float(np.exp(log)), ""


def diagram(sure: np.ndarray, right: np.ndarray) -> dict[str, np.ndarray]:
    """Return for each bin of certainty (BINS,) the number of answers, their mean certainty and share of right ones."""
    place = _places(sure)
    count = np.bincount(place, minlength=BINS)
    with np.errstate(invalid="ignore"):
        certainty, share = (np.bincount(place, of, BINS) / count for of in (sure, right.astype(float)))
    return {"count": count, "certainty": certainty, "share right": share}


def expected_calibration_error(sure: np.ndarray, right: np.ndarray) -> float:
    """Return the mean over all answers of the gap in their bin (Naeini et al. 2015), for BINS bins of equal width."""
    return float(np.abs(np.bincount(_places(sure), sure - right, BINS)).sum() / len(sure))


def _places(sure: np.ndarray) -> np.ndarray:
    """Return the bins (n,): a certainty on an edge belongs to the bin below it."""
    place: np.ndarray = np.clip(np.ceil(sure * BINS).astype(int) - 1, 0, BINS - 1)
    return place


def _value(known: Scored, runtime: Runtime, unit: str, temperature: float = 1.0) -> Value:
    """Return the error with a bootstrap interval over images.

    Where all answers are right, or all wrong, no draw shows another. The error is at most the gap of such answers and
    the share of others together, and that share has the end of Clopper and Pearson.
    """
    sure, right = known.sure(temperature)
    generator = np.random.default_rng(runtime.seed)
    picks = (generator.integers(len(sure), size=len(sure)) for _ in range(ROUNDS))
    spread = np.percentile([expected_calibration_error(sure[pick], right[pick]) for pick in picks], INTERVAL)
    found = expected_calibration_error(sure, right)
    unseen = clopper_pearson(0, len(sure))[1] if right.all() or not right.any() else 0.0
    ends = min(float(spread[0]), found), min(1.0, max(float(spread[1]), found) + unseen)
    return Value(value=found, unit=unit, n=len(sure), interval=ends)


def _gathered(answers: Answers) -> tuple[Scored, list[str]]:
    """Return scores and labels of images whose outputs are finite, and their digests."""
    scores, labels, digests = [], [], []
    for rows, kept in answers.scored():
        for row, own in zip(rows, kept, strict=True):
            if row["finite"]:
                scores.append(own)
                labels.append(row["label"])
                digests.append(row["digest"])
    known = np.stack(scores).astype(np.float64) if scores else np.zeros((0, 1))
    return Scored(known, np.array(labels, dtype=int)), digests


def _halved(digests: list[str]) -> np.ndarray:
    """Return which images (n,) are in the first half, by their content: the same whatever their order."""
    return np.array([int(digest[-8:], 16) % 2 == 0 for digest in digests], dtype=bool)


def _blank(test: Answers) -> Finding:
    settings: Mapping[str, Any] = {
        "bins": BINS,
        "bootstrap rounds": ROUNDS,
        "labels": test.labels,
        "data digest": test.digest,
    }
    return Finding(
        id="calibration",
        family="calibration",
        method="calibration",
        title="Certainty",
        description="Whether answers given with a probability of 90 % are right nine times of ten: the mean gap, over "
        "bins of certainty.",
        limits="It is about images like these, and about the probability of the given answer only. A temperature "
        "changes certainty, never an answer. With few images the error is overstated: bins have gaps by chance.",
        source="Guo et al. 2017; Naeini et al. 2015",
        kind="statistical",
        input=None,
        status="skipped",
        parameters=dict(settings),
    )
