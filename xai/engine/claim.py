"""What a property says, as its finding keeps it: a counterexample is judged by it again, without the file."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import torch

from xai.reports.artefacts import Store, get, get_rows, put, put_rows
from xai.reports.records import Artefact, Finding, Scalar
from xai.robustness.bounds.inputs import Inputs
from xai.robustness.bounds.interval import Interval
from xai.robustness.norms import Norm, size
from xai.robustness.verify.pairs import Pairing
from xai.robustness.verify.property import Case, Property
from xai.robustness.verify.rows import Comparison, FaultError, Rows
from xai.robustness.verify.statements import Compiled

CONSTRAINTS, REGION, CENTRE, MOVES = "constraints", "region", "centre", "moves"  # artefacts
SLACK = 1e-6  # of distances, which another machine sums in another order


@dataclass(frozen=True, eq=False)
class Claim:
    """Which inputs a property is about, and which outputs violate it.

    Args:
        rows: an output is beyond the limits where all rows of some case hold.
        lower: (...) float64, the lowest value of each number of an input.
        upper: (...) float64, the highest.
        norm: of the ball that inputs lie in, besides; linf where there is none.
        centre: (...) float64, of the ball.
        radius: of the ball.
        moves: (...) bool, where two inputs may differ; None of a property about one input.
        pairing: how they may.
    """

    rows: tuple[Rows, ...]
    lower: np.ndarray
    upper: np.ndarray
    norm: Norm = Norm.LINF
    centre: np.ndarray | None = None
    radius: float = 0.0
    moves: np.ndarray | None = None
    pairing: Pairing | None = None

    @classmethod
    def of(cls, stated: Compiled) -> Claim:
        """Return what a compiled statement says."""
        region, pair = stated.property.cases[0].region, stated.pair
        lower, upper, centre = (_array(one[0, 0]) for one in (region.box.lower, region.box.upper, region.centre))
        if pair is not None:
            return cls(stated.rows, lower[0], upper[0], moves=_array(pair.moves), pairing=pair.pairing)
        if region.radius is None or region.is_box:
            return cls(stated.rows, lower, upper)
        return cls(stated.rows, lower, upper, region.norm, centre, float(region.radius))

    @classmethod
    def read(cls, finding: Finding, store: Store) -> Claim:
        """Return what a finding keeps; raise ValueError or KeyError if it is none.

        Args:
            finding: of a property.
            store: of its artefacts.
        """
        told = finding.parameters
        lower, upper = get(store, finding.artefacts[REGION])
        rows = _rows(get_rows(store, finding.artefacts[CONSTRAINTS]), int(str(told["outputs"])))
        kept = {name: get(store, finding.artefacts[name]) for name in (CENTRE, MOVES) if name in finding.artefacts}
        pairing = Pairing(str(told["second input"])) if MOVES in kept else None
        norm, radius = Norm(str(told.get("norm", Norm.LINF))), float(str(told.get("radius", 0.0)))
        return cls(rows, lower, upper, norm, kept.get(CENTRE), radius, kept.get(MOVES), pairing)

    def artefacts(self, store: Store) -> dict[str, Artefact]:
        """Keep it; return what is kept by name."""
        kept = {
            CONSTRAINTS: put_rows(
                store, [_row(case, one) for case, rows in enumerate(self.rows) for one in rows.comparisons]
            ),
            REGION: put(store, np.stack([self.lower, self.upper])),
        }
        more = {CENTRE: self.centre, MOVES: self.moves}
        return kept | {name: put(store, array) for name, array in more.items() if array is not None}

    def parameters(self) -> dict[str, Scalar]:
        """Return what of it is no array."""
        ball: dict[str, Scalar] = {} if self.centre is None else {"norm": self.norm.value, "radius": self.radius}
        pair: dict[str, Scalar] = {} if self.pairing is None else {"second input": self.pairing.value}
        return {"outputs": self.rows[0].outputs, **ball, **pair}

    def violated(self, outputs: np.ndarray) -> bool:
        """Say whether outputs (1, outputs), or both of two inputs (2, outputs), go beyond the limits of some case."""
        flat = torch.from_numpy(outputs).flatten()
        return len(flat) == self.rows[0].outputs and any(rows.violated(flat) for rows in self.rows)

    def property(self, name: str) -> Property:
        """Return what is to be proved of one input, made of what is kept."""
        ends = (torch.from_numpy(end)[None, None] for end in (self.lower, self.upper))
        box = Interval(*ends)
        if self.centre is None:
            region = Inputs(box, box.middle)
        else:
            radius = torch.tensor([self.radius], dtype=torch.float64)
            region = Inputs(box, torch.from_numpy(self.centre)[None, None], self.norm, radius)
        return Property(tuple(Case(region, one.matrix, one.limits, one.name) for one in self.rows), name)

    def outside(self, inputs: np.ndarray) -> str:
        """Return why inputs (1, ...) or (2, ...) are none that the property is about, "" if they are."""
        count = 1 if self.moves is None else 2
        if inputs.shape != (count, *self.lower.shape):
            return f"is of shape {inputs.shape}, where {(count, *self.lower.shape)} was expected"
        values = inputs.astype(np.float64)
        if not ((self.lower <= values) & (values <= self.upper)).all() or not self._in_ball(values):
            return "lies outside of the region"
        return "" if self._paired(values) else "are two inputs that the statement does not compare"

    def _in_ball(self, values: np.ndarray) -> bool:
        if self.centre is None:
            return True
        return float(size(torch.from_numpy(values - self.centre), self.norm)[0]) <= self.radius * (1 + SLACK)

    def _paired(self, values: np.ndarray) -> bool:
        if self.moves is None:
            return True
        step = values[1] - values[0]
        return not step[~self.moves].any() and (self.pairing is not Pairing.STEP or bool((step >= 0).all()))


def _array(values: torch.Tensor) -> np.ndarray:
    found: np.ndarray = values.cpu().numpy()
    return found


def _row(case: int, one: Comparison) -> dict[str, Any]:
    """Write a comparison, exact: each number as numerator and denominator."""
    terms = [[number, *value.as_integer_ratio()] for number, value in sorted(one.coefficients.items())]
    return {"case": case, "terms": terms, "limit": [*one.limit.as_integer_ratio()], "strict": one.strict}


def _rows(kept: Any, outputs: int) -> tuple[Rows, ...]:
    """Read comparisons by case."""
    cases: dict[int, list[Comparison]] = {}
    try:
        for row in kept:
            terms = {number: Fraction(above, below) for number, above, below in row["terms"]}
            cases.setdefault(row["case"], []).append(Comparison("Y", terms, Fraction(*row["limit"]), row["strict"]))
        return tuple(Rows(tuple(case), outputs) for case in cases.values())
    except (FaultError, ArithmeticError) as error:
        raise ValueError(f"its constraints are none: {error}") from None
