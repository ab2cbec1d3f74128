"""What changed: a few of the adversarial inputs that were found, beside their originals, and what became of the maps.

Random noise made of the very numbers of a change is the control: what it does to answer and maps, the attack need not
have been clever for.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from xai.data.dataset import DataSet
from xai.data.samples import Sample
from xai.engine.attempt import Attempt, attempt
from xai.engine.drift import TOP, drift, kept
from xai.engine.facts import input_record, outputs_of
from xai.engine.plan import missing, plan_explain
from xai.errors import AnalysisError, UsageError
from xai.explainers.base import Attributor, Explainer, Explanation
from xai.models.model import Model
from xai.models.targets import Target
from xai.reports.artefacts import Store, get, put
from xai.reports.records import Artefact, Finding, InputRecord, Scalar, TargetRecord, Value
from xai.robustness.norms import Norm, size
from xai.robustness.victim import Victim
from xai.runtime import Runtime, silent

EXAMPLES = 4
DRAWS, EXPLAINED = 20, 3  # of noise: answers cost one pass each, maps many
STEPS = 510  # half steps of an 8-bit picture: what is smaller does not change the file
_DRIFT = "1 - Spearman's rank correlation: 0 the same map, 1 unrelated, 2 reversed"
_KEPT = f"share of the map's highest {TOP:.0%} of places that stay; {TOP:g} by chance"


def choose(rows: Iterable[Mapping[str, Any]], count: int) -> list[Mapping[str, Any]]:
    """Return the rows of the smallest confirmed changes, the smallest first.

    Each class gives one before any gives two, so that they are not all of the class that is the weakest.
    """
    nearest: dict[int, list[tuple[float, int, Mapping[str, Any]]]] = {}
    for place, row in enumerate(rows):
        if row.get("confirmed") and row["distance"]:
            own = nearest.setdefault(row["label"], [])
            heapq.heappush(own, (-row["distance"], -place, row))
            if len(own) > count:
                heapq.heappop(own)
    ranked = [
        (rank, -distance, -place, row)
        for own in nearest.values()
        for rank, (distance, place, row) in enumerate(sorted(own, key=lambda entry: entry[:2], reverse=True))
    ]
    taken = sorted(ranked, key=lambda entry: entry[:3])[:count]
    return [entry[3] for entry in sorted(taken, key=lambda entry: entry[1:3])]


def noise_like(
    x: torch.Tensor, delta: torch.Tensor, limits: tuple[float, float] | None, generator: torch.Generator, draws: int
) -> torch.Tensor:
    """Return inputs (draws, ...) that differ from x (...) by the numbers of delta (...), shuffled and of random sign.

    So every norm is the change's own. Where a number would leave the range, its sign is the other one.
    """
    numbers, place = delta.numel(), generator.device
    sizes = delta.abs().flatten().to(place)
    order = torch.stack([torch.randperm(numbers, generator=generator, device=place) for _ in range(draws)])
    signs = torch.where(torch.rand(draws, numbers, generator=generator, device=place) < 0.5, -1.0, 1.0)
    noise = (sizes[order] * signs).reshape(draws, *x.shape).to(x.device)
    if limits is None:
        return x + noise
    low, high = limits
    outside = (x + noise < low) | (x + noise > high)
    inward = torch.where(x < (low + high) / 2, noise.abs(), -noise.abs())
    return (x + torch.where(outside, inward, noise)).clamp(low, high)


@dataclass(frozen=True)
class Pair:
    """One input, what it was changed to, and noise of the change's size.

    Args:
        sample: the original.
        row: what the attack's record says of it.
        adversarial: (...) of the input's shape.
        noisy: (DRAWS, ...) the original with noise.
    """

    sample: Sample
    row: Mapping[str, Any]
    adversarial: torch.Tensor
    noisy: torch.Tensor

    @property
    def delta(self) -> torch.Tensor:
        """What was added, float64."""
        return self.adversarial.double() - self.sample.input.double()


@dataclass(frozen=True)
class Study:
    """Looks at some adversarial inputs of a run.

    Args:
        model: that they fool.
        data: the originals.
        shards: of the data: the indices of each.
        norm: that the attacks measure changes in.
        stored: the adversarial inputs, an artefact a shard, "adversarial/<shard:06>".
        runtime: device, seed, threads, memory, progress.
        store: keeps the arrays.
        explained: whether it is looked at what became of the maps.
    """

    model: Model
    data: DataSet
    shards: Sequence[Sequence[int]]
    norm: Norm
    stored: Mapping[str, Artefact]
    runtime: Runtime
    store: Store
    explained: bool = True

    def of(self, rows: Iterable[Mapping[str, Any]], count: int) -> tuple[tuple[InputRecord, ...], tuple[Finding, ...]]:
        """Return the originals and what is found of up to `count` examples."""
        if count < 0:
            raise UsageError(f"expected a number of examples of at least 0, received {count}")
        chosen = choose(rows, count) if count else []
        explainers, others = self._explainers() if chosen and self.explained else ([], "")
        inputs: list[InputRecord] = []
        findings: list[Finding] = []
        for number, row in enumerate(chosen):
            self.runtime.progress("looking at what changed", number, len(chosen))
            with self.runtime.seeded("change", row["id"]) as generator:
                tried = attempt(f"the change of {row['id']}", lambda: self._one(row, explainers, others, generator))  # noqa: B023  # called at once
            if tried.answer is None:
                findings.append(_blank(row).model_copy(update={"status": tried.status, "reason": tried.reason}))
                continue
            record, change, moved = tried.answer
            inputs.append(record)
            seconds = tried.seconds - sum(finding.seconds for finding in moved)
            findings += [change.model_copy(update={"seconds": seconds}), *moved]
        if chosen:
            self.runtime.progress("looking at what changed", len(chosen), len(chosen))
        return tuple(inputs), tuple(findings)

    def _explainers(self) -> tuple[list[Explainer], str]:
        """Return the default explainers that give this model's inputs a map, and why the others do not."""
        known = [one for one in plan_explain(self.model, measures_named="none").methods if isinstance(one, Attributor)]
        reasons = {one.about.title: missing(one, self.model) for one in known}
        fit = [one for one in known if not reasons[one.about.title]]
        return list(fit), "; ".join(f"{title}: {reason}" for title, reason in reasons.items() if reason)

    def _one(
        self, row: Mapping[str, Any], explainers: Sequence[Explainer], others: str, generator: torch.Generator
    ) -> tuple[InputRecord, Finding, list[Finding]]:
        pair = self._pair(row, generator)
        record = input_record(pair.sample, outputs_of(self.model, pair.sample), self.model, self.store)
        outputs_of(self.model, replace(pair.sample, input=pair.adversarial))  # raises if they are no numbers
        target = self.model.target(record.predictions[0].index)
        change = self._change(pair, explainers, others)
        return record, change, [self._moved(method, pair, target) for method in explainers]

    def _pair(self, row: Mapping[str, Any], generator: torch.Generator) -> Pair:
        """Read an original again, and its adversarial input."""
        shard, place = row["adversarial"]
        index = next(index for index in self.shards[shard] if self.data.id(index) == row["id"])
        part = self.data.read_many([index])
        if part.skipped:
            raise AnalysisError(f"{row['id']} could not be read again: {part.skipped[0].reason}")
        sample = part.samples[0]
        if sample.digest != row["digest"]:
            raise AnalysisError(f"{row['id']} was changed since it was attacked")
        found = torch.from_numpy(get(self.store, self.stored[f"adversarial/{shard:06}"])[place].copy())
        noisy = noise_like(sample.input, found - sample.input, self.model.input.range, generator, DRAWS)
        return Pair(sample, row, found, noisy)

    def _change(self, pair: Pair, explainers: Sequence[Explainer], others: str) -> Finding:
        before, after, noisy = self._shares(pair)
        answers = [int(one.argmax()) for one in (before, after)]
        notes = ("In this batch size the model gives the same answer to both.",) if len(set(answers)) == 1 else ()
        delta = (pair.adversarial - pair.sample.input).numpy()
        values = {
            "first answer": Value(value=self.model.answers[answers[0]], unit="for the original"),
            "second answer": Value(value=self.model.answers[answers[1]], unit="for the adversarial input"),
        }
        for which, answer in zip(("first", "second"), answers, strict=True):
            for when, shares in (("before", before), ("after", after)):
                values[f"{which} answer, {when}"] = Value(value=float(shares[answer]), unit="probability")
        values |= self._sizes(pair)
        same = (noisy.argmax(1) == answers[0]).double().mean()
        values["answer kept under noise"] = Value(
            value=float(same), unit="share of draws of random noise of the same size", n=DRAWS
        )
        unit = "input units"
        values |= {
            "lowest": Value(value=float(delta.min()), unit=unit),
            "highest": Value(value=float(delta.max()), unit=unit),
            "signed": Value(value=True),
        }
        parameters: dict[str, Scalar] = {
            "attack": pair.row["attack"],
            "norm": self.norm.value,
            "place of the adversarial input": "shard {}, place {}".format(*pair.row["adversarial"]),
            "explained by": ", ".join(one.about.title for one in explainers) or "none",
            "not explained by": others or "none",
        }
        arrays = {"perturbation": delta, "adversarial": pair.adversarial.numpy()}
        return _blank(pair.row).model_copy(
            update={
                "input": pair.sample.id,
                "values": values,
                "notes": notes,
                "parameters": parameters,
                "artefacts": {name: put(self.store, array) for name, array in arrays.items()},
            }
        )

    def _shares(self, pair: Pair) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return probabilities of the classes: (classes,) before and after, and (DRAWS, classes) under noise."""
        victim = Victim(self.model)
        batch = self.runtime.batch(self.model.bytes_per_input)
        x = torch.cat((torch.stack((pair.sample.input, pair.adversarial)), pair.noisy)).to(self.model.device)
        with torch.no_grad():
            scores = torch.cat([victim.scores(part) for part in x.split(batch)])
        shares = scores.double().cpu().softmax(1)
        return shares[0], shares[1], shares[2:]

    def _sizes(self, pair: Pair) -> dict[str, Value]:
        """Return how large a change is, in each norm and in how many places."""
        picture, limits = self.model.input.is_picture, self.model.input.range
        found = {
            norm.value: Value(value=float(size(pair.delta[None], norm)), unit="input units, over all numbers")
            for norm in Norm
        }
        seen = (limits[1] - limits[0]) / STEPS if limits else 0.0
        places = pair.delta.abs().amax(0) if picture else pair.delta.abs()
        noun = "pixels" if picture else "numbers"
        by = f" by more than 1/{STEPS} of the range, half a step of an 8-bit picture" if limits else ""
        found["changed"] = Value(value=int((places > seen).sum()), unit=f"{noun}{by}", n=places.numel())
        return found

    def _moved(self, method: Explainer, pair: Pair, target: Target) -> Finding:
        """Return how far a method's map for the first answer moved."""
        about = method.about
        quiet = replace(self.runtime, progress=silent)
        tried: Attempt[list[Explanation]] = attempt(
            f"{about.name} on {pair.sample.id}",
            lambda: [
                method.explain(self.model, x, [target], quiet, pair.sample.digest)[
                    0
                ]  # one key: the same random numbers
                for x in (pair.sample.input, pair.adversarial, *pair.noisy[:EXPLAINED])
            ],
        )
        finding = Finding(
            id=f"{about.name}/{pair.sample.id}",
            family="drift",
            method=about.name,
            title=f"{about.title}, before and after",
            description=about.summary,
            limits=f"{about.limits} A map that moves, or stays, says nothing of who is right.",
            source=about.source,
            kind=about.kind.value,
            input=pair.sample.id,
            target=TargetRecord(index=target.index, name=target.name),
            status=tried.status,
            reason=tried.reason,
            parameters=method.model_dump(),
            seconds=tried.seconds,
        )
        if tried.answer is None:
            return finding
        before, after, *noisy = tried.answer
        blank = [word for word, one in (("original", before), ("adversarial input", after)) if one.is_blank]
        note = f"The map of the {' and that of the '.join(blank)} is blank, so nothing can be said of how far it moved."
        return finding.model_copy(
            update={
                "parameters": before.parameters,
                "values": _compared(before, after, noisy),
                "notes": (note,) if blank else (),
                "artefacts": {
                    name: put(self.store, one.arrays["map"]) for name, one in (("before", before), ("after", after))
                },
            }
        )


def _compared(before: Explanation, after: Explanation, noisy: Sequence[Explanation]) -> dict[str, Value]:
    """Return how far a map moved, and how far noise moves it."""
    moves = [_move(before, one) for one in noisy]
    drifts = [moved for moved, _ in moves if moved is not None]
    stays = [stayed for _, stayed in moves if stayed is not None]
    moved, stayed = _move(before, after)
    both = [one.values for one in (before, after)]
    lowest, highest = (
        pick(float(values[name].value or 0) for values in both) for name, pick in (("lowest", min), ("highest", max))
    )
    unit = both[0]["highest"].unit
    return {
        "drift": Value(value=moved, unit=_DRIFT),
        "drift under noise": Value(
            value=float(np.median(drifts)) if drifts else None,
            unit="median over draws of random noise of the change's size",
            n=len(drifts),
        ),
        "drift under noise, largest": Value(value=max(drifts, default=None), unit="of these draws", n=len(drifts)),
        "top kept": Value(value=stayed, unit=_KEPT),
        "top kept under noise": Value(
            value=float(np.median(stays)) if stays else None, unit="median over the same draws", n=len(stays)
        ),
        "lowest": Value(value=lowest, unit=unit),
        "highest": Value(value=highest, unit=unit),
        "signed": both[0]["signed"],
        "blank": Value(value=before.is_blank and after.is_blank),
    }


def _move(before: Explanation, after: Explanation) -> tuple[float | None, float | None]:
    """Return drift and what is kept; None where a map is blank."""
    if before.is_blank or after.is_blank:
        return None, None
    maps = before.arrays["map"], after.arrays["map"]
    return drift(*maps), kept(*maps)


def _blank(row: Mapping[str, Any]) -> Finding:
    """Return the finding of a change, with nothing in it yet."""
    return Finding(
        id=f"change/{row['id']}",
        family="change",
        method="change",
        title="What changed",
        description="The input, what the attack added to it, and what the model says before and after.",
        limits="It is the smallest change that these attacks found; a smaller one may exist. Examples are chosen for "
        "small changes, so they are not typical.",
        source="",
        kind="exact",
        input=None,
        status="ok",
    )
