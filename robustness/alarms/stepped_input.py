"""Stepped input: rounding on the way hides the slope, and straight through it the way is open."""

from __future__ import annotations

from dataclasses import replace

import torch
from pydantic import Field

from xai.registry import Kind, Method, Need
from xai.reports.records import Value
from xai.robustness.alarms.base import Alarm, Signal, Subject
from xai.robustness.borrowed import Lender, Loss, StraightThrough, averaged
from xai.robustness.norms import Norm
from xai.robustness.regions import Region

TINY = 2.0**-22  # of the range: some units in the last place of float32
MOVED = 1024  # numbers at most: more of them would cross a step by chance
ASIDE = 2.0**-9  # of the range: data often lie on steps exactly
STEPPED = 0.5  # share of images from which the model is called stepped


class SteppedInput(Alarm):
    """Athalye, Carlini and Wagner 2018, section 4: shattered gradients, and the ways through and around them."""

    about = Method(
        name="stepped_input",
        title="Rounded or noisy gradients",
        summary="Attacks the same images along gradients taken straight through operators that round, and along "
        "means over random neighbours. Where that finds more, steps or noise had hidden the slope.",
        limits="Steps that are made by comparing or by looking up are seen in the outputs, and not passed through.",
        source="Athalye, Carlini, Wagner 2018, Obfuscated gradients give a false sense of security; Bengio, Leonard, "
        "Courville 2013, Estimating or propagating gradients through stochastic neurons",
        kind=Kind.STATISTICAL,
        needs=frozenset({Need.GRADIENTS}),
        default=True,
    )

    draws: int = Field(default=4, ge=1, le=1000, description="Neighbours that a mean is taken over.")
    reach: float = Field(default=0.5, gt=0, le=1, description="How far they lie at most, as a share of epsilon.")

    def look(self, subject: Subject) -> Signal:
        """Attack straight through, and by means; and see whether tiny changes change anything."""
        title = subject.attack.about.title
        rounds = _rounds(subject)
        others = {f"{title} by means over neighbours": subject.fallen("means", lender=self._means(subject))}
        if rounds:
            others[f"{title} straight through rounding"] = subject.fallen("straight", lender=_straight(subject))
        contests = subject.contests(others)
        same, total = int(_unmoved(subject).sum()), len(subject)
        stepped = same >= STEPPED * total
        values = {
            "same outputs after a tiny change": Value(value=same / total, unit="share of the images", n=total),
            **contests.values,
        }
        sentence, speaks = contests.sentence, contests.speaks
        if stepped:
            sentence += f" A tiny change of the input changes no output at {same} of them: the model goes in steps."
            speaks = "neither" if speaks == "for" else speaks
        return Signal(sentence, speaks, values, {"operators that round": rounds})

    def _means(self, subject: Subject) -> Lender:
        near = replace(subject.region, epsilon=self.reach * subject.region.epsilon)
        generator = subject.runtime.generator("alarm", "neighbours")
        return averaged(subject.victim, self.draws, lambda x: near.draw(x, generator))


def _rounds(subject: Subject) -> bool:
    """Say whether an operator that rounds is on the way from input to scores."""
    with torch.enable_grad(), StraightThrough() as through:
        subject.victim.scores(subject.case.x[:1].clone().requires_grad_())
    return bool(through.met)


def _straight(subject: Subject) -> Lender:
    victim = subject.victim

    def lend(x: torch.Tensor, loss: Loss) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        with StraightThrough():
            return victim.differentiated(x, loss)

    return lend


def _unmoved(subject: Subject) -> torch.Tensor:
    """Say at which images a tiny change of some of the numbers leaves all outputs as they are, to the last bit."""
    x, region = subject.case.x, subject.region
    low, high = subject.model.input.range or (float(x.min()), float(x.max()))
    width = max(high - low, 1e-6)
    generator = subject.runtime.generator("alarm", "tiny")
    beside = Region(Norm.LINF, ASIDE * width, region.low, region.high).draw(x, generator)
    order = torch.rand(x[0].numel(), device=x.device, generator=generator).argsort()
    moved = (order < MOVED).reshape(x.shape[1:])
    middle = (low + high) / 2
    after = beside + TINY * width * moved * torch.where(beside < middle, 1.0, -1.0)
    parts = [
        (subject.victim.scores(one) == subject.victim.scores(other)).all(1)
        for one, other in zip(beside.split(subject.batch), after.split(subject.batch), strict=True)
    ]
    return torch.cat(parts)
