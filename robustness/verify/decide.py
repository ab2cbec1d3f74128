"""Decides a property: attack first, then bounds that cost more and more, then branch and bound until time is up."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

import torch

from xai.errors import NotApplicableError
from xai.robustness.bounds.analysis import Analysis, Kept, TimeUpError
from xai.robustness.bounds.inputs import Inputs
from xai.robustness.bounds.limits import check_fits
from xai.robustness.bounds.methods.base import Bounder
from xai.robustness.bounds.program import Program
from xai.robustness.bounds.rounding import Arithmetic
from xai.robustness.verify.activations import Activations
from xai.robustness.verify.boxes import Boxes
from xai.robustness.verify.domains import Domain, Root
from xai.robustness.verify.falsify import Exact, Falsifier, Network
from xai.robustness.verify.problem import Problem
from xai.robustness.verify.property import Case, Property
from xai.robustness.verify.search import LATE, Search
from xai.robustness.verify.ways import Way

DEAR = 0.3  # of the time that is left, after which a search begins with the cheap bounds of the region


class Verdict(StrEnum):
    """What is known of a property."""

    HOLDS = "holds"
    VIOLATED = "violated"
    NOT_DECIDED = "not decided"


@dataclass(frozen=True)
class Proof:
    """Why a case has no input.

    Args:
        case: its place in the property.
        way: how its parts were bounded.
        leaves: parts that make up the region, each proved.
        root: what they share; None where the region itself was cut.
    """

    case: int
    way: str
    leaves: tuple[Domain, ...]
    root: Root | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a property.

    Args:
        verdict: what is known.
        by: what decided it.
        seconds: that it took.
        parts: of the region that were bounded.
        case: the name of the case that was met, or that was left.
        counterexample: an input (...) in float32 that violates the property.
        bound: where it is not decided, the best bound: how far below its limit the case that is left may lie.
        reason: why it is not decided, and what would help.
        proofs: for each case, where it holds.
    """

    verdict: Verdict
    by: str
    seconds: float
    parts: int = 0
    case: str = ""
    counterexample: torch.Tensor | None = None
    bound: float | None = None
    reason: str = ""
    proofs: tuple[Proof, ...] = ()


@dataclass
class Verifier:
    """Decides properties of one network.

    Args:
        program: its steps, condensed.
        network: as it runs.
        cheap: bounds of the whole region, first.
        dear: the same, better, before a search over activations.
        arithmetic: of the network that proofs are about.
        confirm: says whether an input (...) with its output (outputs,) is a counterexample in the property's own terms.
        seed: of the random starts of attacks.
        exact: gives the outputs at an input (...) in exact arithmetic, None where it cannot.
    """

    program: Program
    network: Network
    cheap: Bounder
    dear: Bounder
    arithmetic: Arithmetic = Arithmetic.REAL
    confirm: Callable[[torch.Tensor, torch.Tensor], bool] | None = None
    seed: int = 0
    exact: Exact | None = None
    _deadline: float = field(default=0.0, init=False)

    def decide(self, wanted: Property, seconds: float) -> Outcome:
        """Return what is known of a property after so many seconds at most."""
        begun = time.monotonic()
        self._deadline = begun + seconds
        return replace(self._decided(wanted), seconds=time.monotonic() - begun)

    def _decided(self, wanted: Property) -> Outcome:
        problems = [Problem(self.program, case, self.arithmetic) for case in wanted.cases]
        generator = torch.Generator().manual_seed(self.seed)
        falsifiers = [Falsifier(problem, self.network, generator, self.confirm, self.exact) for problem in problems]
        for falsifier in falsifiers:
            found = falsifier.attack(self._late)
            if found is not None:
                return _violated("attack", falsifier.problem.case, found)
        proofs: list[Proof] = []
        left: Outcome | None = None
        parts = 0
        for region, numbers in _by_region(wanted.cases):
            for outcome in self._region(region, {number: falsifiers[number] for number in numbers}):
                parts += outcome.parts
                if outcome.verdict is Verdict.VIOLATED:
                    return replace(outcome, parts=parts)
                if outcome.verdict is Verdict.NOT_DECIDED:
                    left = left or outcome
                proofs += outcome.proofs
        if left is not None:
            return replace(left, parts=parts)
        effort = (self.cheap.about.title, self.dear.about.title, Boxes.name, Activations.name)
        by = max((proof.way for proof in proofs), key=effort.index)
        return Outcome(Verdict.HOLDS, by, 0.0, parts, proofs=tuple(proofs))

    def _late(self) -> bool:
        return time.monotonic() > self._deadline

    def _region(self, region: Inputs, falsifiers: dict[int, Falsifier]) -> Iterator[Outcome]:
        """Yield what becomes of cases that share a region, until one is not proved."""
        bound = -float("inf")
        try:
            if next(iter(falsifiers.values())).problem.by_inputs:
                yield from self._searched({number: (Boxes(one.problem), one) for number, one in falsifiers.items()})
                return
            for bounder, share in ((self.cheap, 1.0), (self.dear, DEAR)):
                try:
                    root, found, wholes = self._bounded(region, bounder, falsifiers, self._within(share))
                except TimeUpError:
                    if bounder is self.cheap or self._late():
                        raise
                    break  # the search begins with the boxes that are there
                proved = [number for number in falsifiers if found[number] > 0]
                if proved:
                    shared = _shared(root)
                    proofs = tuple(Proof(one, bounder.about.title, (wholes[one],), shared) for one in proved)
                    yield Outcome(Verdict.HOLDS, bounder.about.title, 0.0, 1, proofs=proofs)
                falsifiers = {number: one for number, one in falsifiers.items() if found[number] <= 0}
                bound = min(found.values())
                if not falsifiers:
                    return
            hardest_first = sorted(falsifiers, key=lambda number: found[number])
            ways = {n: (Activations(falsifiers[n].problem, root), falsifiers[n]) for n in hardest_first}
            yield from self._searched(ways, _shared(root))
        except TimeUpError:
            (_, falsifier), *_ = falsifiers.items()
            yield _not_decided(LATE, falsifier.problem.case, bound, 1)
        except NotApplicableError as refused:
            yield _not_decided(str(refused), next(iter(falsifiers.values())).problem.case, bound, 0)

    def _within(self, share: float) -> Callable[[], bool]:
        """Return what says whether a share of the time that is left is up."""
        now = time.monotonic()
        end = now + share * (self._deadline - now)
        return lambda: time.monotonic() > end

    @torch.no_grad()
    def _bounded(
        self, region: Inputs, bounder: Bounder, falsifiers: dict[int, Falsifier], late: Callable[[], bool]
    ) -> tuple[Analysis, dict[int, float], dict[int, Domain]]:
        """Return the boxes of the whole region, how far each case's best row is above its limit, and what shows it."""
        last = self.program.output
        problem = next(iter(falsifiers.values())).problem
        check_fits(self.program, bounder, 1, last)
        analysis = Analysis(self.program.steps, region, problem.rounding, late=late, kept=[])
        bounder.prepare(analysis, last)
        shared, found, wholes = analysis.kept, {}, {}
        for number, falsifier in falsifiers.items():
            own, analysis.kept = falsifier.problem, []
            best, row = own.beyond(bounder.lowest(analysis, last, own.rows(1)))[:, 0].max(0)
            found[number], wholes[number] = float(best), _whole(analysis.kept, int(row))
        analysis.kept, analysis.late = shared, self._late
        return analysis, found, wholes

    def _searched(self, ways: Mapping[int, tuple[Way, Falsifier]], root: Root | None = None) -> Iterator[Outcome]:
        """Search in several cases by turns: one that is met ends all, however long the others take."""
        searches = {number: Search(way, falsifier) for number, (way, falsifier) in ways.items()}
        while searches:
            for number, one in list(searches.items()):
                case = ways[number][1].problem.case
                found = one.go_on() or (one.given_up(LATE) if self._late() else None)
                if found is None:
                    continue
                if found.counterexample is not None:
                    yield replace(_violated(one.way.name, case, found.counterexample), parts=found.parts)
                elif found.proved:
                    proof = Proof(number, one.way.name, found.leaves, root)
                    yield Outcome(Verdict.HOLDS, one.way.name, 0.0, found.parts, proofs=(proof,))
                else:
                    yield _not_decided(found.stuck, case, found.bound, found.parts)
                del searches[number]


def _shared(root: Analysis) -> Root:
    """Return what the proofs of a region's parts share."""
    return Root(tuple(root.kept or ()), root.open)


def _whole(kept: list[Kept], row: int) -> Domain:
    """Return the whole region as a part, with the slopes that a row was bounded with."""
    if not kept:
        return Domain()
    found = {step: torch.cat([part.shares[step] for part in kept])[row, 0] for step in kept[0].shares}
    return Domain(state={"row": {0: torch.tensor(row)}, "shares": found, "prices": {}})


def _violated(by: str, case: Case, point: torch.Tensor) -> Outcome:
    return Outcome(Verdict.VIOLATED, by, 0.0, 0, case.name, point)


def _not_decided(why: str, case: Case, bound: float, parts: int) -> Outcome:
    return Outcome(Verdict.NOT_DECIDED, "", 0.0, parts, case.name, None, bound, why)


def _by_region(cases: tuple[Case, ...]) -> Iterator[tuple[Inputs, list[int]]]:
    """Yield each region with the places of its cases."""
    found: dict[int, tuple[Inputs, list[int]]] = {}
    for number, case in enumerate(cases):
        found.setdefault(id(case.region), (case.region, []))[1].append(number)
    yield from found.values()
