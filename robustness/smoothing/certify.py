"""Randomised smoothing: what draws say of the smoothed classifier, with which probability, and in which words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from decimal import ROUND_FLOOR, Context

import numpy as np
import torch

from xai.errors import UsageError
from xai.models.model import Model
from xai.registry import Kind, Method
from xai.robustness.smoothing.draws import NOTHING, Draws, Tally
from xai.robustness.smoothing.plan import Smoothing, Use
from xai.runtime import Runtime

ABSTAINED = -1
ABOUT = Method(
    name="smoothing",
    title="Randomised smoothing",
    summary="With a stated probability, the smoothed classifier gives one answer for every input in an l2 ball.",
    limits=(
        "It is statistics, never a proof, and it is about the smoothed classifier: the answer that the network gives "
        "most often under Gaussian noise. Of the network without noise it says nothing, and whoever runs the smoothed "
        "classifier estimates its answer from draws again. Noise is not clipped to the range of values. Each "
        "statement is wrong with probability up to alpha over the draws; that numbers only look random, and that "
        "float64 rounds noise and input, is not counted in it."
    ),
    source="Cohen, Rosenfeld & Kolter 2019, Certified Adversarial Robustness via Randomized Smoothing",
    kind=Kind.STATISTICAL,
)


@dataclass(frozen=True)
class Certificate:
    """What the draws around one input say.

    Args:
        predicted: place of the smoothed classifier's answer in `model.answers`, or `ABSTAINED`.
        lower: what the share of the selected class is at least, with probability 1 - alpha.
        radius: l2, in input units; every input nearer than that has the same answer, with that probability. 0 for an
            abstention.
        selected: the class that the first draws gave most often, or `NOTHING` if none of them gave any.
        count: how many of the n draws gave it.
        nothing: how many gave outputs that are not finite; they count against it.
    """

    predicted: int
    lower: float
    radius: float
    selected: int
    count: int
    nothing: int


@dataclass(frozen=True)
class Certificates:
    """What is said of each of n inputs: the fields of `Certificate` as arrays (n,).

    Args:
        names: of the inputs.
        predicted: int64.
        lower: float64.
        radius: float64.
        selected: int64.
        count: int64.
        nothing: int64.
    """

    names: tuple[str, ...]
    predicted: np.ndarray
    lower: np.ndarray
    radius: np.ndarray
    selected: np.ndarray
    count: np.ndarray
    nothing: np.ndarray

    def __len__(self) -> int:
        """Return how many inputs there are."""
        return len(self.names)

    def __getitem__(self, place: int) -> Certificate:
        """Return what is said of one input."""
        return Certificate(**{each.name: getattr(self, each.name)[place].item() for each in fields(Certificate)})

    def certified(self, label: np.ndarray, radius: float) -> np.ndarray:
        """Say of which inputs the smoothed classifier's answer is right for every change of up to a size, (n,) bool.

        Args:
            label: (n,) right answers, as places in `model.answers`.
            radius: l2, in input units; 0 asks for the answer alone. The ball with its border lies within the open one
                that is certified, so the size must be below the certified radius.
        """
        right: np.ndarray = (self.predicted == label) & (self.radius > radius)
        return right


def certify(model: Model, x: torch.Tensor, plan: Smoothing, runtime: Runtime, names: Sequence[str]) -> Certificates:
    """Smooth a model at some inputs and say how far each answer holds.

    What is said of an input depends on the run's seed, its name and itself, whatever the others and the batches are.
    Cohen, Rosenfeld & Kolter 2019, algorithm CERTIFY.

    Args:
        model: with classes as outputs.
        x: (n, ...) in input units.
        plan: noise and number of draws.
        runtime: seed, memory, progress in draws.
        names: one for each input, such as its digest.

    Raises:
        NotApplicableError: the model's outputs are values.
        UsageError: there is not one name for each input, or inputs have another shape.
    """
    if len(names) != len(x):
        raise UsageError(f"expected a name for each of {len(x)} inputs, received {len(names)}")
    done, total = 0, len(x) * (plan.n0 + plan.n)

    def tell(draws: int) -> None:
        nonlocal done
        done += draws
        runtime.progress("smoothing", done, total)

    found = []
    for row, name in zip(x, names, strict=True):
        draws = Draws(model, row, plan, runtime, name)
        tally = draws.tally
        for _ in plan.blocks:
            tally = draws.advance(tally, tell)
        found.append(conclude(plan, tally))
    return gather(found, names)


def conclude(plan: Smoothing, tally: Tally) -> Certificate:
    """Return what all draws around one input say.

    Raises:
        UsageError: draws are missing: whoever looks before the last one, and stops when he likes what he sees, says
            more than the probability allows.
    """
    selection, estimation = tally.counts[Use.SELECTION], tally.counts[Use.ESTIMATION]
    made = sum(selection.values()), sum(estimation.values())
    if made != (plan.n0, plan.n):
        raise UsageError(
            f"expected {plan.n0} and {plan.n} draws, received {made[0]} and {made[1]}: go on until all are made"
        )
    classes = sorted(set(selection) - {NOTHING})
    selected = max(classes, key=selection.__getitem__, default=NOTHING)
    count = 0 if selected == NOTHING else estimation.get(selected, 0)
    lower = plan.lower(count)
    return Certificate(
        predicted=selected if lower > 0.5 else ABSTAINED,
        lower=lower,
        radius=plan.radius(lower),
        selected=selected,
        count=count,
        nothing=estimation.get(NOTHING, 0),
    )


def gather(certificates: Sequence[Certificate], names: Sequence[str]) -> Certificates:
    """Return certificates, one for each name, as arrays."""
    if len(names) != len(certificates):
        raise UsageError(f"expected a name for each of {len(certificates)} inputs, received {len(names)}")

    def column(name: str) -> np.ndarray:
        dtype = np.float64 if name in ("lower", "radius") else np.int64
        return np.array([getattr(certificate, name) for certificate in certificates], dtype=dtype)

    return Certificates(tuple(names), **{each.name: column(each.name) for each in fields(Certificate)})


def sentence(certificate: Certificate, plan: Smoothing, model: Model) -> str:
    """Say what is known of one input, in words that claim no more."""
    if certificate.predicted == ABSTAINED:
        seen = (
            "no draw gave any class"
            if certificate.selected == NOTHING
            else f"{certificate.count} of {plan.n} draws gave {model.answers[certificate.selected]}"
        )
        return (
            f"The smoothed classifier abstains: {seen}, too few to say with probability {_sure(plan)} that it is the "
            f"answer to more than half of all noise of standard deviation {plan.sigma}."
        )
    return (
        f"With probability at least {_sure(plan)} over the draws, the smoothed classifier (what the network answers "
        f"most often under Gaussian noise of standard deviation {plan.sigma}) answers "
        f"{model.answers[certificate.predicted]} for every input at an l2 distance below "
        f"{_floor(certificate.radius)}: {certificate.count} of {plan.n} draws gave it. This is statistics about the "
        "smoothed classifier, and says nothing of the network without noise."
    )


def caution(plan: Smoothing, images: int) -> str:
    """Say how many of so many statements may be wrong."""
    together = 1 - images * plan.alpha
    joint = (
        f"all are right together with probability at least {_floor(together)}"
        if together > 0
        else "that all are right together cannot be expected"
    )
    return (
        f"Each statement is wrong with probability at most {plan.alpha}: of {images}, at most {images * plan.alpha:g} "
        f"are expected to be wrong, and {joint}."
    )


def _sure(plan: Smoothing) -> str:
    """Return the probability in a way that never rounds to certainty."""
    return f"1 - {plan.alpha}"


def _floor(value: float) -> str:
    """Write a number that is not negative with four digits, rounded down."""
    return f"{Context(prec=4, rounding=ROUND_FLOOR).create_decimal(value):g}"
