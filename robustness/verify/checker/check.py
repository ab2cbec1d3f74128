"""Says of a proof in a file whether it proves what it says of a network: evaluation only, nothing is searched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xai.models.model import Model
from xai.robustness.verify.checker.enclosure import (
    MEMORY,
    ROOM,
    TINY,
    Box,
    Certificate,
    Chosen,
    Enclosure,
    Region,
    gamma,
)
from xai.robustness.verify.checker.file import BOXES, INPUT, MIXED, SHARES, SHARES_OF_ROWS, Cut, Slopes, Written, read
from xai.robustness.verify.checker.network import Array, Bent, Network, Rectified, UncheckableError, read_network
from xai.robustness.verify.property import Property

BATCH = 64
CLOSE = 1e-9  # of a limit: a bound that lacks no more may lack it by rounding


class State(StrEnum):
    """What became of checking a case, the worst last."""

    CHECKED = "checked"
    NOT_CHECKED = "not checked"
    WRONG = "wrong"


@dataclass(frozen=True)
class CaseChecked:
    """What became of a case.

    Args:
        name: of the case.
        state: whether its proof was confirmed.
        reason: why not; "" where it was.
        leaves: parts of the region that were bounded.
        margin: by how much the part that is nearest to its limit is above it; None where nothing was bounded.
    """

    name: str
    state: State
    reason: str = ""
    leaves: int = 0
    margin: float | None = None


@dataclass(frozen=True)
class Checked:
    """What became of a proof.

    Args:
        cases: of the property.
        arithmetic: of the network that the proof was written for: "real" or "float".
        about: the name of what was proved, as it is written.
        compared: whether regions and rows were compared with those of a property that was given.
    """

    cases: tuple[CaseChecked, ...]
    arithmetic: str
    about: str
    compared: bool

    @property
    def state(self) -> State:
        """That of the worst case."""
        return max((case.state for case in self.cases), key=list(State).index)

    @property
    def text(self) -> str:
        """The result in one line."""
        count = len(self.cases)
        if self.state is not State.CHECKED:
            worst = next(case for case in self.cases if case.state is self.state)
            return f"{self.state}: case {worst.name or self.cases.index(worst)}: {worst.reason}"
        parts = sum(case.leaves for case in self.cases)
        what = f"checked: {count} {'case' if count == 1 else 'cases'}, {parts} {'part' if parts == 1 else 'parts'}"
        real = "the network in real numbers"
        covered = f"{real}; how float32 rounds was not checked" if self.arithmetic == "float" else real
        return f"{what}; about {covered}{'' if self.compared else '; about the regions and limits in the file itself'}"


class _WrongError(Exception):
    """What a proof says that is not so."""


@dataclass(frozen=True)
class _Case:
    """A case as it is written."""

    place: int
    region: Region
    rows: Array
    limits: Array
    leaves: list[tuple[Cut, ...]]


def check_proof(path: Path, model: Model, wanted: Property | None = None) -> Checked:
    """Say whether the proof in a file holds: `checked` of what `read` returns.

    Raises:
        UsageError: there is no such file.
        RefusedFileError: it is no proof, or was changed after it was written.
        NotApplicableError: the model has no graph.
    """
    return checked(read(path), model, wanted)


def checked(written: Written, model: Model, wanted: Property | None = None) -> Checked:
    """Say whether a proof holds.

    Args:
        written: the proof.
        model: the network that it is about.
        wanted: the property that was to be proved, read anew; without it, the proof's own is taken.

    Raises:
        RefusedFileError: it is no proof.
        NotApplicableError: the model has no graph.
    """
    about = written.about
    cases = [_case(written, place) for place in range(len(about["cases"]))]
    try:
        _check_same(written, model, cases, wanted)
        network = read_network(model.needed_graph(), model.input.shape)
        _check_fits(written, cases, network)
    except (_WrongError, UncheckableError) as stopped:
        state = State.WRONG if isinstance(stopped, _WrongError) else State.NOT_CHECKED
        found = [CaseChecked(case["name"], state, str(stopped)) for case in about["cases"]]
    else:
        found = _Checker(written, network).checked(cases)
    return Checked(tuple(found), about["arithmetic"], about["property"], wanted is not None)


def _case(written: Written, place: int) -> _Case:
    rows, limits = written.reals(f"case.{place}.rows", 2), written.reals(f"case.{place}.limits", 1)
    if len(rows) != len(limits) or not len(limits):
        raise written.refused("expected a limit for each row, and a row at least")
    return _Case(place, _region(written, written.about["cases"][place]["region"]), rows, limits, written.leaves(place))


def _region(written: Written, place: int) -> Region:
    lower, upper = written.reals(f"region.{place}.lower", 1), written.reals(f"region.{place}.upper", 1)
    if lower.shape != upper.shape or bool((lower > upper).any()):
        raise written.refused("expected lower ends that are not above the upper ones")
    box, norm = Box(lower[None], upper[None]), written.about["regions"][place]
    if norm == "linf":
        return Region(box)
    centre, radius = written.reals(f"region.{place}.centre", 1), written.reals(f"region.{place}.radius", 1)
    if centre.shape != lower.shape or radius.shape != (1,) or radius[0] < 0:
        raise written.refused("expected a ball with a centre and a radius")
    return Region(box, norm, centre, float(radius[0]))


def _check_same(written: Written, model: Model, cases: Sequence[_Case], wanted: Property | None) -> None:
    """Raise _WrongError unless a proof is about a network and, if one is given, a property."""
    if written.about["fingerprint"] != model.fingerprint:
        raise _WrongError("it was written for another network")
    if wanted is None:
        return
    if len(cases) != len(wanted.cases):
        raise _WrongError(f"expected a proof of {len(wanted.cases)} cases, received one of {len(cases)}")
    for ours, theirs in zip(cases, wanted.cases, strict=True):
        region = theirs.region
        pairs: list[tuple[str, Any, Any]] = [
            ("region", ours.region.box.lower, region.box.lower),
            ("region", ours.region.box.upper, region.box.upper),
            ("rows", ours.rows, theirs.matrix),
            ("limits", ours.limits, theirs.limits),
        ]
        if ours.region.norm != str(region.norm):
            raise _WrongError(f"case {ours.place}: it is about another norm")
        if ours.region.centre is not None and region.radius is not None:
            pairs += [("ball", ours.region.centre, region.centre), ("ball", ours.region.radius, region.radius)]
        for name, mine, given in pairs:
            if not np.array_equal(np.ravel(mine), given.detach().cpu().double().numpy().ravel()):
                raise _WrongError(f"case {ours.place}: its {name} are not those of the property")


def _check_fits(written: Written, cases: Sequence[_Case], network: Network) -> None:
    """Raise _WrongError unless all places that a proof names are there."""
    names = written.about["rectifiers"]
    for kind, there in (("rectifiers", network.rectifiers), ("maxima", network.maxima)):
        for name in written.about[kind]:
            if name not in there:
                raise _WrongError(f"the network has no {name!r} among its {kind}")
    first = network.values[0].size
    sizes = [first, *(network.values[network.rectifiers[name]].size for name in names)]
    for case in cases:
        if case.region.box.lower.shape[1] != first or case.rows.shape[1] != network.values[network.output].size:
            raise _WrongError("it is about a network of another size")
        for cut in (cut for leaf in case.leaves for cut in leaf):
            if not 0 <= cut.value < len(sizes) or not 0 <= cut.number < sizes[cut.value]:
                raise _WrongError(f"it cuts number {cut.number} of value {cut.value}, which is not there")


@dataclass(frozen=True)
class _Asked:
    """What is bounded of leaves.

    Args:
        rows: (leaves, outputs).
        limits: (leaves,).
        doubt: (leaves, outputs) how far coefficients may be from what they stand for: sums of rows are rounded.
    """

    rows: Array
    limits: Array
    doubt: Array


def _asked(case: _Case, row: NDArray[np.int64], mixtures: Array | None) -> _Asked:
    """Return each leaf's row, or its mixture: where all rows are at most their limits, so is every mixture."""
    is_mixed, own = row == len(case.rows), np.minimum(row, len(case.rows) - 1)
    rows, limits = case.rows[own], case.limits[own]
    if mixtures is None:
        return _Asked(rows, limits, np.zeros_like(rows))
    error = gamma(2 * len(case.rows))
    most = mixtures @ case.limits + error * (mixtures @ np.abs(case.limits)) + TINY
    doubt = np.where(is_mixed[:, None], error * (mixtures @ np.abs(case.rows)), 0.0)
    return _Asked(np.where(is_mixed[:, None], mixtures @ case.rows, rows), np.where(is_mixed, most, limits), doubt)


class _Checker:
    """Bounds every leaf of every case."""

    def __init__(self, written: Written, network: Network) -> None:
        self._written, self._network = written, network
        self._names: list[str] = list(written.about["rectifiers"])
        self._places = network.rectifiers | network.maxima
        self._roots: dict[int, Enclosure] = {}

    def checked(self, cases: Sequence[_Case]) -> list[CaseChecked]:
        """Return what becomes of each case; what overflows proves nothing."""
        with np.errstate(all="ignore"):
            return [self._checked(case) for case in cases]

    def _checked(self, case: _Case) -> CaseChecked:
        about = self._written.about["cases"][case.place]
        name, margin = about["name"], np.inf
        try:
            margins = self._boxes(case) if about["kind"] == BOXES else self._parts(case, about["root"])
            for leaf, above in margins:
                if not above > 0:
                    reason = f"part {leaf} of {len(case.leaves)} is not proved: its bound lacks {-above:.3g}"
                    close = -above <= CLOSE * (1 + float(np.abs(case.limits).max()))
                    state = State.NOT_CHECKED if close else State.WRONG
                    return CaseChecked(name, state, reason, len(case.leaves), above)
                margin = min(margin, above)
        except _WrongError as wrong:
            return CaseChecked(name, State.WRONG, str(wrong), len(case.leaves))
        return CaseChecked(name, State.CHECKED, "", len(case.leaves), float(margin))

    def _boxes(self, case: _Case) -> Iterator[tuple[int, float]]:
        """Yield each leaf, and how far above its limit the best row is, over the box that its cuts leave."""
        if case.region.norm != "linf" or any(cut.value != INPUT for leaf in case.leaves for cut in leaf):
            raise _WrongError("only boxes of inputs can be cut so")
        again: list[int] = []
        for begin in range(0, len(case.leaves), BATCH):
            margins = self._margins(self._boxed(case, case.leaves[begin : begin + BATCH]), case)
            again += (np.flatnonzero(~(margins > 0)) + begin).tolist()
            yield from ((leaf, above) for leaf, above in enumerate(margins.tolist(), begin) if above > 0)
        for begin in range(0, len(again), BATCH):
            numbers = again[begin : begin + BATCH]
            yield from zip(numbers, self._from_the_root(case, [case.leaves[i] for i in numbers]).tolist(), strict=True)

    def _boxed(self, case: _Case, parts: Sequence[tuple[Cut, ...]], known: dict[int, Box] | None = None) -> Enclosure:
        enclosure = Enclosure(self._network, Region(_cut(case.region.box, parts, INPUT)), known)
        enclosure.spread()
        return enclosure

    def _from_the_root(self, case: _Case, leaves: Sequence[tuple[Cut, ...]]) -> Array:
        """Return leaves' margins from the boxes of the parts that they were cut from, each kept within the last."""
        known: dict[int, Box] = {}
        for depth in range(max(map(len, leaves)) + 1):
            enclosure = self._boxed(case, [leaf[:depth] for leaf in leaves], known)
            known = enclosure.entering
        return self._margins(enclosure, case)

    def _margins(self, enclosure: Enclosure, case: _Case) -> Array:
        """Return how far (batch,) each sample's best row is above its limit, with the slopes of the smaller area."""
        output, rows = self._network.output, case.rows[None]
        found = enclosure.lowest(output, rows)
        found = np.maximum(found, enclosure.lowest(output, rows, stop=True))
        return np.where(enclosure.empty, np.inf, _above(found, case.limits).max(1))

    def _parts(self, case: _Case, root: int) -> Iterator[tuple[int, float]]:
        """Yield each leaf, and how far its row is above its limit, with the slopes and multipliers that are written."""
        prefix = f"case.{case.place}"
        whole = self._root(root, case.region)
        uncut = float(self._margins(whole, case)[0])
        if case.leaves == [()] and (uncut > 0 or f"{prefix}.row" not in self._written.tensors):
            yield 0, uncut
            return
        row = self._written.whole(f"{prefix}.row")
        count = len(case.leaves)
        mixtures = self._mixtures(case, count)
        kinds = len(case.rows) + (mixtures is not None)
        if len(row) != count or bool((row < 0).any()) or bool((row >= kinds).any()):
            raise _WrongError("a part's row is not there")
        slopes = self._written.slopes(prefix, count)
        prices = self._prices(case)
        is_mixed = self._written.about["cases"][case.place]["kind"] == MIXED
        if not is_mixed and any(cut.value == INPUT for leaf in case.leaves for cut in leaf):
            raise _WrongError("an input is cut where rectifiers are")
        widest = max(value.size for value in self._network.values)
        step = max(1, min(256, MEMORY // (8 * widest * 4)))
        for begin in range(0, count, step):
            part = slice(begin, begin + step)
            known, chosen = self._cuts(case.leaves[part], prices[part])
            if is_mixed:
                enclosure = self._again(case, case.leaves[part], known, whole)
            else:
                enclosure = whole.cut(known) if known else whole
            own = {self._place(name): self._whole(name, one, part)[:, None] for name, one in slopes.items()}
            wanted = _asked(case, row[part], None if mixtures is None else mixtures[part])
            found = self._rowwise(enclosure, wanted, Chosen(own, *chosen))
            yield from enumerate(found.tolist(), begin)

    def _mixtures(self, case: _Case, count: int) -> Array | None:
        """Return what each row (leaves, rows) counts in its leaf's mixture, in parts of 1; None where there is none."""
        name = f"case.{case.place}.mixtures"
        if name not in self._written.tensors:
            return None
        found = self._written.array(name, "iu", 2)
        if found.shape != (count, len(case.rows)) or bool((found < 0).any()):
            raise _WrongError("a mixture of rows is not there, or has a part below 0")
        return np.asarray(found / SHARES_OF_ROWS)

    def _again(
        self, case: _Case, leaves: Sequence[tuple[Cut, ...]], known: Mapping[int, Box], whole: Enclosure
    ) -> Enclosure:
        """Return leaves' own boxes, within those of the whole region: the input itself is cut."""
        own = {place: known[place].within(box) if place in known else box for place, box in whole.entering.items()}
        region = replace(case.region, box=_cut(case.region.box, leaves, INPUT))
        found = Enclosure(self._network, region, own)
        found.spread()
        return found

    def _rowwise(self, enclosure: Enclosure, wanted: _Asked, chosen: Chosen) -> Array:
        """Return how far each leaf's row is above its limit."""
        output = self._network.output
        found = enclosure.lowest(output, wanted.rows[:, None], chosen)[:, 0]
        sizes = np.broadcast_to(enclosure.boxes[output].size, wanted.doubt.shape)
        found = np.nextafter(found - (wanted.doubt * sizes).sum(1) * ROOM, -np.inf)
        return np.where(enclosure.empty, np.inf, _above(np.where(np.isnan(found), -np.inf, found), wanted.limits))

    def _root(self, place: int, region: Region) -> Enclosure:
        """Return the boxes of a whole region."""
        if place not in self._roots:
            enclosure = Enclosure(self._network, region)
            enclosure.spread({self._place(name): self._certificate(place, name) for name in self._certified(place)})
            self._roots[place] = enclosure
        return self._roots[place]

    def _certified(self, root: int) -> list[str]:
        names = [*self._names, *self._written.about["maxima"]]
        return [name for name in names if f"root.{root}.{name}.numbers" in self._written.tensors]

    def _certificate(self, root: int, name: str) -> Certificate:
        """Return the slopes that were chosen for what enters a rectifier."""
        prefix = f"root.{root}.{name}"
        numbers, signs = self._written.whole(f"{prefix}.numbers"), self._written.whole(f"{prefix}.signs")
        value = self._network.values[self._place(name)]
        assert isinstance(value, Bent)
        size = self._network.values[value.source].size
        if len(numbers) != len(signs) or not _within(numbers, size) or bool((np.abs(signs) != 1).any()):
            raise _WrongError(f"bounds of {name} are of numbers that are not there")
        slopes = self._written.slopes(prefix, len(numbers))
        whole = {self._place(one): self._whole(one, own)[None] for one, own in slopes.items()}
        return Certificate(numbers, signs, whole)

    def _whole(self, name: str, slopes: Slopes, part: slice = slice(None)) -> Array:
        """Return slopes (rows, size) of all numbers of a rectifier."""
        value = self._network.values[self._place(name)]
        assert isinstance(value, Rectified)
        shares = slopes.shares[part]
        own = np.maximum(shares / SHARES, value.slope) if shares.dtype == np.uint8 else shares.astype(np.float64)
        if not _within(slopes.places, value.size) or bool((own < value.slope).any()) or bool((own > 1).any()):
            raise _WrongError(f"a slope of {name} is none from {value.slope:g} to 1")
        found = np.full((len(own), value.size), value.slope)
        found[:, slopes.places] = own
        return found

    def _prices(self, case: _Case) -> list[Array]:
        """Return what each leaf pays for each of its cuts."""
        prices = self._written.reals(f"case.{case.place}.prices", 1)
        counts = [len(leaf) for leaf in case.leaves]
        if len(prices) != sum(counts) or bool((prices < 0).any()):
            raise _WrongError("a multiplier is missing, or below 0")
        return list(np.split(prices, np.cumsum(counts)[:-1]))

    def _cuts(
        self, leaves: Sequence[tuple[Cut, ...]], prices: Sequence[Array]
    ) -> tuple[dict[int, Box], tuple[dict[int, Any], ...]]:
        """Return the boxes that leaves' cuts leave of rectifiers' inputs, and the constraints with their prices."""
        known: dict[int, Box] = {}
        pay: dict[int, Array] = {}
        side: dict[int, Array] = {}
        at: dict[int, Array] = {}
        for value in sorted({cut.value for leaf in leaves for cut in leaf} - {INPUT}):
            place = self._place(self._names[value - 1])
            size = self._network.values[place].size
            known[place] = _cut(Box(np.full((1, size), -np.inf), np.full((1, size), np.inf)), leaves, value)
            pay[place], side[place], at[place] = (np.zeros((len(leaves), size)) for _ in range(3))
            for number, (leaf, own) in enumerate(zip(leaves, prices, strict=True)):
                for cut, price in zip(leaf, own.tolist(), strict=True):
                    if cut.value == value and price > 0:
                        spot = number, cut.number
                        pay[place][spot], side[place][spot], at[place][spot] = price, cut.side, cut.at
        return known, ({place: one[:, None] for place, one in pay.items()}, side, at)

    def _place(self, name: str) -> int:
        return self._places[name]


def _cut(box: Box, leaves: Sequence[tuple[Cut, ...]], value: int) -> Box:
    """Return boxes (leaves, size): a whole (1, size), cut by each leaf's cuts of a value."""
    lower, upper = (np.repeat(end, len(leaves), axis=0) for end in (box.lower, box.upper))
    for number, leaf in enumerate(leaves):
        for cut in leaf:
            if cut.value == value and cut.side > 0:
                lower[number, cut.number] = max(lower[number, cut.number], cut.at)
            elif cut.value == value:
                upper[number, cut.number] = min(upper[number, cut.number], cut.at)
    return Box(lower, upper)


def _within(places: NDArray[np.int64], size: int) -> bool:
    return bool((places >= 0).all()) and bool((places < size).all())


def _above(found: Array, limits: Array) -> Array:
    """Return how far bounds are above limits: above 0 only where they are, in exact arithmetic."""
    gap = np.asarray(found - limits)
    return np.where(found > limits, np.maximum(gap, 5e-324), np.minimum(gap, 0.0))
