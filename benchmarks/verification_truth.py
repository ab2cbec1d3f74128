"""Verdicts on thousands of random small networks beside their exact truth: none may be wrong.

A network is piecewise linear, and small enough that branch and bound with proved bounds knows each case's smallest
value to twelve digits (tests/robustness/verify/exact.py, which uses nothing of xai). Limits are drawn beside it, as
many to be met as not: far, near, and at the size of rounding, where "not decided" is right and a wrong verdict is not.
A counterexample must lie in the region, violate in float32 as the model runs, and in real numbers. Proofs of many
that hold are written and checked by the independent checker; some problems take the way of VNN-LIB files.
XAI_VERIFY_NETWORKS sets another number of networks, XAI_VERIFY_MINUTES ends the run after so many minutes. With
XAI_VERIFY_KEPT=FILE it goes on where the figures in a file end, and adds to them.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import xai
from tests.robustness.verify.exact import Absolute, Exact, Least, Shortcut
from xai.engine.deciding import Deciding, Judge
from xai.engine.vnnlib import SAT, UNSAT, answer
from xai.errors import AnalysisError
from xai.models.graph import Graph
from xai.models.model import Model
from xai.robustness.bounds.rounding import Arithmetic
from xai.robustness.verify.checker.check import State, check_proof
from xai.robustness.verify.decide import Outcome, Verdict
from xai.robustness.verify.proof import write_proof
from xai.robustness.verify.property import Case, Property

NETWORKS = 3072
DRAWS = 8  # networks of an architecture, which is traced once: that takes longer than all else
OUTPUTS = 3
PROOF_EVERY, FILE_EVERY = 2, 41  # of the proofs, of the networks
FAR, NEAR = "far", "near"
ROUNDING = {f"{share:g} beside": share for share in (1e-6, 1e-7, 1e-9, 1e-12)}  # of the value, or of 1
TURNS = (FAR, *ROUNDING, FAR, NEAR, NEAR)  # of the draws of an architecture
SECONDS = {FAR: 0.75, NEAR: 0.5, **{name: 0.25 if share > 1e-8 else 0.1 for name, share in ROUNDING.items()}}
ROOM = 1e-11  # of the value: what the truth's own value of a point may be off by
HOLDS, VIOLATED, NOT_KNOWN = "holds", "violated", "not known"

Rng = np.random.Generator
Make = Callable[[Rng], nn.Module]


@dataclass(frozen=True)
class Kind:
    """Networks of a kind: how they are made, the shape of an input, and how far a region may reach."""

    make: Make
    shape: tuple[int, ...]
    reach: float


def _dense(inputs: int, bends: Sequence[Callable[[], nn.Module]], most: int = 7) -> Make:
    def make(rng: Rng) -> nn.Module:
        layers: list[nn.Module] = []
        size = inputs
        for width in rng.integers(3, most + 1, rng.integers(1, 4)).tolist():
            layers += [nn.Linear(size, width), bends[int(rng.integers(len(bends)))]()]
            size = width
        return nn.Sequential(*layers, nn.Linear(size, OUTPUTS))

    return make


def _shortcut(inputs: int) -> Make:
    def make(rng: Rng) -> nn.Module:
        width = int(rng.integers(3, 6))
        blocks = (_block(width) for _ in range(int(rng.integers(1, 3))))
        return nn.Sequential(nn.Linear(inputs, width), *blocks, nn.ReLU(), nn.Linear(width, OUTPUTS))

    return make


def _block(width: int) -> nn.Module:
    return Shortcut(nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))


def _convolutional(side: int, *between: Callable[[], nn.Module]) -> Make:
    """Return what makes a convolution of 2 channels, some layers, and two matrices."""

    def make(rng: Rng) -> nn.Module:
        first = [nn.Conv2d(1, 2, 3, padding=1), *(layer() for layer in between), nn.Flatten()]
        with torch.no_grad():
            count = nn.Sequential(*first).eval()(torch.zeros(1, 1, side, side)).shape[1]
        width = int(rng.integers(3, 6))
        return nn.Sequential(*first, nn.Linear(count, width), nn.ReLU(), nn.Linear(width, OUTPUTS))

    return make


def _leaky() -> nn.Module:
    return nn.LeakyReLU(0.1)


def _clamp() -> nn.Module:
    return nn.Hardtanh(-0.75, 0.5)


def _pool() -> nn.Module:
    return nn.MaxPool2d(2, 2)


def _norm() -> nn.Module:
    return nn.BatchNorm2d(2)


def _past() -> nn.Module:
    return Shortcut(nn.Conv2d(2, 2, 3, padding=1))


def _average() -> nn.Module:
    return nn.AvgPool2d(2)


KINDS = {
    "dense, 2 inputs": Kind(_dense(2, [nn.ReLU]), (2,), 2.0),
    "dense, 5 inputs": Kind(_dense(5, [nn.ReLU]), (5,), 1.0),
    "dense, 14 inputs": Kind(_dense(14, [nn.ReLU]), (14,), 0.6),
    "dense, 20 inputs": Kind(_dense(20, [nn.ReLU], 6), (20,), 0.6),
    "dense, leaky, 4 inputs": Kind(_dense(4, [_leaky]), (4,), 1.0),
    "dense, leaky, 16 inputs": Kind(_dense(16, [_leaky]), (16,), 0.45),
    "dense, several bends, 3 inputs": Kind(_dense(3, [nn.ReLU, _leaky, _clamp, Absolute], 5), (3,), 1.0),
    "dense, several bends, 14 inputs": Kind(_dense(14, [nn.ReLU, _leaky, _clamp, Absolute], 4), (14,), 0.35),
    "shortcuts, 4 inputs": Kind(_shortcut(4), (4,), 0.8),
    "shortcuts, 14 inputs": Kind(_shortcut(14), (14,), 0.4),
    "convolution, 9 inputs": Kind(_convolutional(3, nn.ReLU), (1, 3, 3), 0.5),
    "convolution, 16 inputs": Kind(_convolutional(4, _norm, nn.ReLU), (1, 4, 4), 0.25),
    "convolution with a shortcut, 16 inputs": Kind(_convolutional(4, _past, nn.ReLU), (1, 4, 4), 0.2),
    "max-pooling, 16 inputs": Kind(_convolutional(4, nn.ReLU, _pool), (1, 4, 4), 0.2),
    "max-pooling, 9 inputs": Kind(_convolutional(3, _pool), (1, 3, 3), 0.4),
    "average pooling, 16 inputs": Kind(_convolutional(4, nn.ReLU, _average), (1, 4, 4), 0.25),
}


@dataclass(frozen=True)
class Ends:
    """A box of inputs, flat, and the network in it as expressions."""

    lower: np.ndarray
    upper: np.ndarray
    exact: Exact


@dataclass(frozen=True)
class Asked:
    """What must not be: rows . output <= limits, all at once; and what is known of the smallest excess over them."""

    ends: Ends
    rows: np.ndarray
    limits: np.ndarray
    least: Least

    def moved(self, limits: np.ndarray) -> Asked:
        """Return it with other limits; what is known of the least is moved by exact differences, rounded outwards."""
        steps = [Fraction(float(new)) - Fraction(float(old)) for new, old in zip(limits, self.limits, strict=True)]
        lower, upper = Fraction(self.least.lower) - max(steps), Fraction(self.least.upper) - min(steps)
        known = Least(np.nextafter(float(lower), -np.inf), np.nextafter(float(upper), np.inf), self.least.parts)
        return Asked(self.ends, self.rows, limits, known)

    @property
    def truth(self) -> str:
        return HOLDS if self.least.lower > 0 else VIOLATED if self.least.upper <= 0 else NOT_KNOWN


COUNTERS = {  # of a tally, and their names among the figures
    "reasons": "why not decided",
    "ways": "decided by",
    "proofs": "proofs",
    "doubts": "why not written or checked",
    "files": "as VNN-LIB files",
    "seconds": "seconds",
}
ENDS = {
    "wrong": "each wrong one",
    "bends": "most ReLUs on either side",
    "elsewhere": "counterexamples that torch's own layers round to the other side",
}


@dataclass
class Tally:
    """What was found."""

    verdicts: dict[str, Counter[str]] = field(default_factory=dict)
    reasons: Counter[str] = field(default_factory=Counter)
    ways: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    proofs: Counter[str] = field(default_factory=Counter)
    doubts: Counter[str] = field(default_factory=Counter)
    files: Counter[str] = field(default_factory=Counter)
    seconds: Counter[str] = field(default_factory=Counter)
    bends: int = 0
    elsewhere: int = 0

    def count(self, group: str, truth: str, verdict: str) -> None:
        self.verdicts.setdefault(group, Counter())[f"{truth}: {verdict}"] += 1


def measure(device: str) -> dict[str, Any]:
    count, (done, tally) = int(os.environ.get("XAI_VERIFY_NETWORKS", NETWORKS)), _kept()
    end = time.monotonic() + 60 * float(os.environ.get("XAI_VERIFY_MINUTES", "inf"))
    names = list(KINDS)
    with tempfile.TemporaryDirectory() as folder:
        for first in range(done, count, DRAWS):
            if time.monotonic() > end:
                break
            kind = names[first // DRAWS % len(names)]
            net = KINDS[kind].make(np.random.default_rng(first))
            model = _loaded(net.eval(), KINDS[kind].shape, device)
            for seed in range(first, min(first + DRAWS, count)):
                _Trial(kind, seed, _drawn(net, seed), _redrawn(model, net), Path(folder), tally).run()
            if first % 100 < DRAWS:
                print(f"{first} of {count}: {len(tally.wrong)} wrong", file=sys.stderr, flush=True)
    return _figures(tally)


def _kept() -> tuple[int, Tally]:
    """Return how many networks are done, and what was found of them."""
    if "XAI_VERIFY_KEPT" not in os.environ:
        return 0, Tally()
    kept = json.loads(Path(os.environ["XAI_VERIFY_KEPT"]).read_text())
    counters = {name: Counter(kept[key]) for name, key in COUNTERS.items()}
    verdicts = {name: Counter(found) for name, found in kept["by"].items()}
    ends = {name: kept[key] for name, key in ENDS.items()}
    return kept["networks"], Tally(verdicts=verdicts, **counters, **ends)


def _figures(tally: Tally) -> dict[str, Any]:
    total = sum((tally.verdicts[size] for size in SECONDS if size in tally.verdicts), Counter())
    return {
        "networks": sum(total.values()),
        "wrong": len(tally.wrong),
        "truth: verdict": dict(sorted(total.items())),
        "by": {name: dict(sorted(found.items())) for name, found in tally.verdicts.items()},
        "seconds allowed": SECONDS,
        **{key: _rounded(getattr(tally, name)) for name, key in COUNTERS.items()},
        **{key: getattr(tally, name) for name, key in ENDS.items()},
    }


def _rounded(found: Counter[str]) -> dict[str, float]:
    return {name: round(value, 1) for name, value in found.most_common()}


class _Trial:
    """One network, and a property of it with a margin of some size."""

    def __init__(self, kind: str, seed: int, net: nn.Module, model: Model, folder: Path, tally: Tally) -> None:
        self.kind, self.seed, self.net, self.model, self.folder, self.tally = kind, seed, net, model, folder, tally
        self.rng = np.random.default_rng(seed)
        self.shape = KINDS[kind].shape

    def run(self) -> None:
        begun = time.perf_counter()
        asked = list(self._cases())
        self.tally.seconds["truth"] += time.perf_counter() - begun
        size = TURNS[self.seed % len(TURNS)]
        own = self._limited(asked, size)
        self._judge(own, size)
        if size in (FAR, NEAR) and self.seed % FILE_EVERY < 2:
            self._as_file(own)

    def _cases(self) -> Iterator[Asked]:
        """Yield cases whose limits lie anywhere, some in a region of their own."""
        ends = self._ends()
        for _ in range(int(self.rng.choice([1, 1, 1, 2, 3]))):
            if self.rng.random() < 0.2:
                ends = self._ends()
            rows = self.rng.standard_normal((int(self.rng.choice([1, 1, 1, 2, 3])), OUTPUTS))
            limits = rows @ ends.exact.value(self._points(ends, 1))[0] + self.rng.normal(0, 0.3, len(rows))
            self.tally.bends = max(self.tally.bends, ends.exact.bends)
            yield Asked(ends, rows, limits, ends.exact.least(rows, limits))

    def _ends(self) -> Ends:
        """Return a box with ends in float32, some inputs fixed; or with ends that float32 does not have."""
        count, rng = int(np.prod(self.shape)), self.rng
        centre, radius = rng.standard_normal(count), KINDS[self.kind].reach * rng.uniform(0.1, 1, count)
        if rng.random() < 0.5:
            radius[rng.random(count) < rng.choice([0.0, 0.3])] = 0.0
            lower, upper = ((centre + sign * radius).astype(np.float32).astype(float) for sign in (-1, 1))
        else:
            lower, upper = centre - radius, centre + radius
        return Ends(lower, upper, Exact(self.net, self.shape, lower, upper))

    def _points(self, ends: Ends, count: int) -> np.ndarray:
        return self.rng.uniform(ends.lower, ends.upper, (count, len(ends.lower)))

    def _limited(self, asked: Sequence[Asked], size: str) -> list[Asked]:
        """Return cases with limits beside the truth: none is met, or one is for certain and the others by chance."""
        met = int(self.rng.integers(len(asked))) if self.rng.random() < 0.5 else -1
        sides = [case == met or (met >= 0 and self.rng.random() < 0.3) for case in range(len(asked))]
        return [self._beside(one, size, side) for one, side in zip(asked, sides, strict=True)]

    def _beside(self, one: Asked, size: str, met: bool) -> Asked:
        values = (one.ends.exact.value(self._points(one.ends, 256)) @ one.rows.T - one.limits).max(1)
        value = max(1.0, float(np.abs(one.limits).max()), abs(one.least.upper))
        share = self.rng.uniform(0.05, 1) if size == FAR else 10 ** self.rng.uniform(-4, -2)
        apart = value * ROUNDING[size] if size in ROUNDING else (values.std() + 1e-2) * share
        return one.moved(one.limits + (one.least.upper + apart if met else one.least.lower - apart))

    def _judge(self, asked: Sequence[Asked], size: str) -> None:
        plan = Deciding(self.model, Arithmetic.REAL, SECONDS[size])
        wanted = self._property(plan, asked)
        judge = Judge(plan, wanted, plan.network(lambda: None), lambda y: _violates(wanted, y), self.seed)
        outcome = judge.decide(plan.timeout)
        self.tally.seconds["search"] += outcome.seconds
        for group in (size, self.kind):
            self.tally.count(group, _truth(asked), str(outcome.verdict))
        if outcome.verdict is Verdict.NOT_DECIDED:
            rows = "several rows" if max(len(one.rows) for one in asked) > 1 else "one row"
            self.tally.reasons[f"{size}, cases of {rows}: {outcome.reason}"] += 1
        else:
            self.tally.ways[outcome.by] += 1
        self._complain(size, self._fault(asked, outcome))
        if outcome.verdict is Verdict.HOLDS:
            self._prove(wanted, outcome, plan)

    def _property(self, plan: Deciding, asked: Sequence[Asked]) -> Property:
        boxes = {id(one.ends): one.ends for one in asked}
        regions = {
            key: plan.bounding.box(*(torch.tensor(end).reshape(1, *self.shape) for end in (ends.lower, ends.upper)))
            for key, ends in boxes.items()
        }
        made = [Case(regions[id(one.ends)], torch.tensor(one.rows), torch.tensor(one.limits)) for one in asked]
        return Property(tuple(made))

    def _complain(self, size: str, fault: str) -> None:
        if fault:
            self.tally.wrong.append(f"{self.kind}, seed {self.seed}, {size}: {fault}")
            print(self.tally.wrong[-1], file=sys.stderr, flush=True)

    def _fault(self, asked: Sequence[Asked], outcome: Outcome) -> str:
        """Return what is wrong with a verdict, or ""."""
        truth = _truth(asked)
        if outcome.verdict is Verdict.NOT_DECIDED or truth == NOT_KNOWN:
            return ""
        if str(outcome.verdict) != truth:
            return f"{outcome.verdict} by {outcome.by}, in truth {truth}: {[one.least for one in asked]}"
        point = outcome.counterexample
        if truth == VIOLATED and (point is None or not any(self._meets(one, point) for one in asked)):
            return "the counterexample is none"
        return ""

    @torch.no_grad()
    def _meets(self, one: Asked, x: torch.Tensor) -> bool:
        """Say whether an input violates a case: inside, in float32 as the model runs, and in real numbers."""
        point = x.double().cpu().numpy().ravel()
        inside = bool(((point >= one.ends.lower) & (point <= one.ends.upper)).all())
        real = one.rows @ one.ends.exact.value(point[None])[0] - one.limits
        met = inside and _reached(self.model, one, x) and bool((real <= ROOM * (1 + np.abs(one.limits))).all())
        if met and not _reached(self.net, one, x.cpu()):
            self.tally.elsewhere += 1
        return met

    def _prove(self, wanted: Property, outcome: Outcome, plan: Deciding) -> None:
        self.tally.proofs["found"] += 1
        if self.tally.proofs["found"] % PROOF_EVERY:
            return
        begun, path = time.perf_counter(), self.folder / "a.proof"
        try:
            write_proof(path, outcome, wanted, plan.program, self.model.fingerprint)
        except AnalysisError as error:
            self.tally.proofs["not written"] += 1
            self.tally.doubts[f"{self.kind}: {error}"] += 1
            return
        checked = check_proof(path, self.model, wanted)
        self.tally.proofs["written"] += 1
        self.tally.proofs[str(checked.state)] += 1
        self.tally.seconds["proofs"] += time.perf_counter() - begun
        if checked.state is State.WRONG:
            self._complain("proof", checked.text)
        elif checked.state is State.NOT_CHECKED:
            self.tally.doubts[f"{self.kind}: {next(one.reason for one in checked.cases if one.reason)}"] += 1

    def _as_file(self, asked: Sequence[Asked]) -> None:
        """Ask the same by way of a VNN-LIB file, with onnxruntime beside."""
        begun, file = time.perf_counter(), self.folder / "a.vnnlib"
        file.write_text(_vnnlib(asked))
        found = answer(Deciding(self.model, Arithmetic.REAL, SECONDS[FAR]), file, self.seed)
        self.tally.seconds["as files"] += time.perf_counter() - begun
        self.tally.files[f"{_truth(asked)}: {found.word}"] += 1
        if found.word in (SAT, UNSAT):
            self._complain("VNN-LIB", self._fault(asked, found.outcome))


def _reached(network: Callable[[torch.Tensor], torch.Tensor], one: Asked, x: torch.Tensor) -> bool:
    """Say whether the output that a program gives in float32 violates a case."""
    output = network(x[None])[0].double().cpu().numpy()
    return bool((one.rows @ output <= one.limits).all())


def _violates(wanted: Property, output: torch.Tensor) -> bool:
    return any(bool(case.slack(output[None]) <= 0) for case in wanted.cases)


def _truth(asked: Sequence[Asked]) -> str:
    found = {one.truth for one in asked}
    return VIOLATED if VIOLATED in found else NOT_KNOWN if NOT_KNOWN in found else HOLDS


def _drawn(net: nn.Module, seed: int) -> nn.Module:
    """Draw weights of a size that lets about half of the ReLUs go either way."""
    generator = torch.Generator().manual_seed(seed)
    for part in net.modules():
        if isinstance(part, nn.Linear | nn.Conv2d):
            part.weight.data = torch.randn(part.weight.shape, generator=generator) / part.weight[0].numel() ** 0.5
            part.bias.data = torch.randn(part.bias.shape, generator=generator) / 2
        elif isinstance(part, nn.BatchNorm2d):
            part.running_mean.copy_(torch.randn(part.running_mean.shape, generator=generator))
            part.running_var.copy_(0.5 + torch.rand(part.running_var.shape, generator=generator))
    return net.eval().requires_grad_(False)


def _loaded(net: nn.Module, shape: tuple[int, ...], device: str) -> Model:
    names = tuple(f"output {number}" for number in range(OUTPUTS))
    return xai.load(
        net, shape=shape, mean=0.0, std=1.0, range=(-99.0, 99.0), classes=names, output="values", device=device
    )


def _redrawn(model: Model, net: nn.Module) -> Model:
    """Return a model with the weights that its network has now."""
    assert model.graph is not None
    model.graph.module.load_state_dict({f"network.{name}": part for name, part in net.state_dict().items()})
    graph = Graph(model.graph.module, model.graph.device)  # which has no fingerprint yet
    return replace(model, graph=graph, forward=graph)


def _vnnlib(asked: Sequence[Asked]) -> str:
    """Return cases as a VNN-LIB file that says exactly the same."""
    count = len(asked[0].ends.lower)
    lines = [f"(declare-const X_{i} Real)" for i in range(count)]
    lines += [f"(declare-const Y_{i} Real)" for i in range(OUTPUTS)]
    return "\n".join([*lines, f"(assert (or {' '.join(map(_conjunction, asked))}))", ""])


def _conjunction(one: Asked) -> str:
    inputs = zip(one.ends.lower, one.ends.upper, strict=True)
    parts = [f"(>= X_{i} {_exact(low)}) (<= X_{i} {_exact(high)})" for i, (low, high) in enumerate(inputs)]
    for row, limit in zip(one.rows, one.limits, strict=True):
        terms = " ".join(f"(* {_exact(value)} Y_{i})" for i, value in enumerate(row))
        parts.append(f"(<= (+ {terms}) {_exact(limit)})")
    return f"(and {' '.join(parts)})"


def _exact(value: float) -> str:
    """Return all digits of a float64."""
    return format(Decimal(float(value)), "f")
