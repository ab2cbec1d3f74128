"""What detectors say, in words that claim no more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from xai.models.model import Model
from xai.reports.records import Value
from xai.robustness.ood.detectors.base import detectors
from xai.robustness.ood.guard import COMBINED

INSIDE, OUTSIDE, UNKNOWN = "in-distribution", "out-of-distribution", "not decided"
FAR = 0.05  # how far accuracy may lie below the card's before preprocessing is doubted
CHECK = "wrong preprocessing is the usual cause: check range, mean, std, resize and the order of classes on the card"


def verdict(inside: bool | None) -> str:
    """Return the word for a verdict."""
    return UNKNOWN if inside is None else INSIDE if inside else OUTSIDE


def title_of(name: str) -> str:
    """Return the title of a detector, or of a combination."""
    known = detectors.all()
    if name in known:
        return known[name].about.title
    return "Combined verdict" if name == COMBINED else f"{name.capitalize()}, combined"


def card_accuracy(model: Model) -> float | None:
    """Return the accuracy that the model's card claims, a share; None if it claims none."""
    for name, figure in model.card.measured.items():
        if "accuracy" in name.lower() and isinstance(figure, int | float) and 0 <= figure <= 100:
            return figure if figure <= 1 else figure / 100
    return None


def accuracy_words(model: Model, found: Value | None, claimed: float | None) -> tuple[str, ...]:
    """Say whether the model works on these images: detectors of a model that does not would learn nonsense."""
    if found is None or found.interval is None or not isinstance(found.value, float):
        return (
            "no image has a label: whether the model is right on them, and so whether they are prepared as it expects, "
            "was not checked",
        )
    told = f"the model is right on {100 * found.value:.1f} % of {found.n} labelled images"
    if claimed is None:
        chance = 1 / len(model.answers)
        if found.interval[0] <= 2 * chance:
            return (f"{told}, hardly more than by chance ({100 * chance:.1f} %): {CHECK}",)
        return (f"{told}; its card claims no accuracy to compare that with (measured: accuracy)",)
    if found.interval[1] < claimed - FAR:
        return (f"{told}, and its card claims {100 * claimed:.1f} %: {CHECK}",)
    return ()


def sentence(whole: Mapping[str, Any], threshold: float, out: Sequence[str], families: Sequence[str]) -> str:
    """Return the verdict on one image in one sentence.

    Args:
        whole: score, p and inside of all detectors together.
        threshold: of that score.
        out: the families that call it out-of-distribution by themselves.
        families: all of them.
    """
    where = "at or below" if whole["inside"] else "above"
    told = f"{verdict(whole['inside'])}: its score {whole['score']:.4g} lies {where} the threshold {threshold:.4g}"
    told += f" (p = {whole['p']:.3g})"
    if len(families) < 2:
        return told
    within = [name for name in families if name not in out]
    if not out or not within:
        return f"{told}; all {len(families)} families of detectors say {INSIDE if within else OUTSIDE}"
    return f"{told}; {' and '.join(out)} alone would say {OUTSIDE}, {' and '.join(within)} would not"
