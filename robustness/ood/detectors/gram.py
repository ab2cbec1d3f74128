"""Gram: channels that go together as they never did for that answer."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import Field

from xai.errors import AnalysisError
from xai.registry import Kind, Method, Need
from xai.robustness.ood.detectors.base import Detector, Evidence, Given, Reads, Seen, State, Statistic
from xai.robustness.ood.statistics import drawn, lowest

_HELD = 0.1  # share of the images that the usual excess is estimated of
_MOST = 1000  # of them
_SEED = 7  # of the draw of these
_NARROW = 3  # powers that float32 holds: the numbers are raised to twice that
_TINY = 1e-6  # that a limit is divided by at least


@dataclass(frozen=True)
class Extremes(Statistic):
    """The lowest and highest Gram sums by label, layer and power, of most images; and the sums of some that are held.

    Only labels that were seen have a row: "label" says of which.

    Args:
        powers: how many powers are taken of each layer.
        places: of a layer's rows and columns that are looked at at most, evenly spread; 0: all.
    """

    powers: int
    places: int

    waiting: ClassVar[int] = 16

    def of(self, seen: Seen) -> State:
        """Return limits and held sums of some inputs."""
        draw = drawn(seen.keys, _SEED)
        held = draw.remainder(1000) < 1000 * _HELD
        kept: State = {"draw": draw[held], "answer": seen.labels[held]}
        rows: State = {"label": seen.labels[~held]}
        for name, value in seen.layers.items():
            sums = gram_sums(value, self.powers, self.places)
            kept[f"held/{name}"] = sums[held]
            rows |= {f"low/{name}": sums[~held], f"high/{name}": sums[~held]}
        classes = torch.tensor([seen.logits.shape[1]], device=draw.device)
        return {**widest([rows]), **lowest([kept], _MOST), "classes": classes}

    def merged(self, states: Sequence[State]) -> State:
        """Widen the limits, and keep some of the held."""
        limits = ("label", "low/", "high/")
        rows = [{name: value for name, value in state.items() if name.startswith(limits)} for state in states]
        kept = [
            {name: v for name, v in state.items() if name.startswith(("draw", "answer", "held/"))} for state in states
        ]
        return {**widest(rows), **lowest(kept, _MOST), "classes": states[0]["classes"]}


def widest(states: Sequence[State]) -> State:
    """Return the limits of all rows of some states, one row a label: the lowest of "low/", the highest of "high/"."""
    labels, place = torch.cat([state["label"] for state in states]).unique(return_inverse=True)
    found: State = {"label": labels}
    for name in (name for name in states[0] if name != "label"):
        rows = torch.cat([state[name] for state in states])
        way, start = ("amin", torch.inf) if name.startswith("low/") else ("amax", -torch.inf)
        empty = torch.full((len(labels), *rows.shape[1:]), start, dtype=rows.dtype, device=rows.device)
        found[name] = empty.scatter_reduce(0, place[:, None, None].expand_as(rows), rows, way)
    return found


class Gram(Detector):
    """Sastry and Oore 2020; rows of the Gram matrices are summed, as in pytorch-ood."""

    about = Method(
        name="gram",
        title="Gram",
        summary="By how much channels go together outside of the limits that were seen for the answered class, over "
        "several layers and powers.",
        limits="Limits are extremes: they widen with every image that is fitted, and a class of few images has narrow "
        "ones.",
        source="Sastry, Oore 2020, Detecting Out-of-Distribution Examples with In-distribution Examples and Gram "
        "Matrices",
        kind=Kind.HEURISTIC,
        needs=frozenset({Need.GRAPH}),
        default=True,
    )
    evidence = Evidence.FEATURES
    reads = frozenset({Reads.LAYERS, Reads.CLASSES})

    powers: int = Field(default=3, ge=1, le=10, description="Powers of the layers' values, from 1.")
    places: int = Field(
        default=64, ge=0, description="Rows and columns of a layer that are looked at at most, evenly spread; 0: all."
    )

    @property
    def statistics(self) -> tuple[Statistic, ...]:
        """Limits, and sums of some images that are held back from them."""
        return (Extremes(self.powers, self.places),)

    def fit(self, given: Given) -> State:
        """Take the limits, and what the held images exceed them by for a layer's unit.

        The last row of the limits is for classes that were not seen: the widest of all.
        """
        sums = given.sums[self.statistics[0]]
        labels, classes = sums["label"], int(sums["classes"])
        if len(labels) == 0:
            raise AnalysisError("expected images that limits can be taken of, received none beside those for the unit")
        if len(labels) < classes:
            given.notes.append(
                f"{classes - len(labels)} of {classes} classes have no limits: they get the widest of all others"
            )
        row = torch.full((classes,), len(labels), device=labels.device)
        row[labels] = torch.arange(len(labels), device=labels.device)
        state: State = {"row": row}
        for name in (key.removeprefix("low/") for key in sums if key.startswith("low/")):
            low, high = sums[f"low/{name}"], sums[f"high/{name}"]
            low, high = torch.cat((low, low.amin(0)[None])), torch.cat((high, high.amax(0)[None]))
            at = row[sums["answer"]]
            usual = excess(sums[f"held/{name}"], low[at], high[at]).mean()
            unit = torch.where(usual > 0, usual, torch.ones_like(usual))  # NaN, of none held, is not above 0
            state |= {f"{name}/low": low, f"{name}/high": high, f"{name}/unit": unit}
        return state

    def score(self, seen: Seen, state: State) -> torch.Tensor:
        """Add up the layers' excesses, each in its unit."""
        at = state["row"][seen.logits.argmax(1)]
        total = torch.zeros(len(seen), dtype=torch.float64, device=at.device)
        for name, value in seen.layers.items():
            low, high, unit = (state[f"{name}/{what}"] for what in ("low", "high", "unit"))
            total = total + excess(gram_sums(value, self.powers, self.places), low[at], high[at]) / unit
        return total


def gram_sums(value: torch.Tensor, powers: int, places: int = 0) -> torch.Tensor:
    """Return the signed p-th roots of the row sums of Gram matrices of p-th powers, (n, powers, channels) float64.

    Args:
        value: (n, channels, places).
        powers: p is 1 to powers.
        places: that are looked at at most; 0: all.
    """
    if places and value.shape[2] > places:
        value = value[:, :, :: stride(value.shape[2], places)].contiguous()
    value = value if powers <= _NARROW else value.double()
    raised, found = value, []
    for power in range(1, powers + 1):
        raised = value if power == 1 else raised * value
        sums = (raised * raised.sum(1, keepdim=True)).sum(2)
        found.append(sums if power == 1 else sums.sign() * sums.abs().pow(1 / power))
    return torch.stack(found, 1).double()


def stride(count: int, most: int) -> int:
    """Return the least step that leaves at most that many of some places, and meets every row and column alike."""
    return next(step for step in itertools.count(-(-count // most)) if math.gcd(step, count) == 1)


def excess(sums: torch.Tensor, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    """Return by how much Gram sums (n, powers, channels) leave their limits, relative to these, added up: (n,)."""
    under = (low - sums).clamp(min=0) / (low + _TINY).abs()
    over = (sums - high).clamp(min=0) / (high + _TINY).abs()
    return (under + over).flatten(1).sum(1)
