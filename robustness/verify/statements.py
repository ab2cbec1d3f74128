"""Properties in a short YAML file, in words of the model: compiled to regions and constraints of the outputs.

    properties:
      - never: speed limit 80          # no input near this picture is taken for one
        near: stop.png
        within: 2/255
      - stays: stop sign               # every input near it has this answer
        near: stop.png
        within: 1/255
      - output: 0                      # an output stays in a range
        between: [0, 30]
        box: [[0, 1], [0, 1], [-5, 5]]
      - require: y[0] - y[2] >= 0.1    # any linear statement of the outputs
        box: [0, 1]
      - increasing: 2                  # more of an input never makes an output less, by the tolerance or more
        output: 0
        tolerance: 0.01
        box: [0, 1]
      - regardless: [1]                # whatever these inputs are, the answer (or an output) is the same
        tolerance: 0.01
        box: [0, 1]

A proof says that no input reaches the limit, in exact arithmetic or the network's. A counterexample is one that goes
beyond it: what only touches it is neither. A tie of two classes is such a touch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import permutations
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from xai.errors import unknown
from xai.models.model import Model
from xai.reports.policy.expression import ExpressionError, read_number
from xai.reports.policy.places import Fault, Written, read, refused
from xai.reports.policy.reading import fitted
from xai.robustness.bounds.inputs import Inputs
from xai.robustness.bounds.interval import Interval
from xai.robustness.bounds.outputs import Bounding
from xai.robustness.norms import Norm
from xai.robustness.verify.box import high_end, low_end
from xai.robustness.verify.pairs import Pair, Pairing
from xai.robustness.verify.property import Case, Property
from xai.robustness.verify.rows import Comparison, FaultError, Rows

MOST = 1000  # properties in a file
MOST_ANSWERS = 32  # of a pair's statement about the answer: every two of them are a case
_KINDS = {  # the field that says what kind of statement it is, what it needs, and what it may have
    "never": ((), ()),
    "stays": ((), ()),
    "between": ((), ("output",)),
    "require": ((), ()),
    "increasing": (("tolerance",), ("output",)),
    "decreasing": (("tolerance",), ("output",)),
    "regardless": (("tolerance",), ("output",)),
}
_TERM = re.compile(
    r"\s*(?P<sign>[+-])?\s*(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?)?\s*(?P<times>\*)?\s*"
    r"(?:y\[\s*(?P<output>[^\]]*?)\s*\])?\s*",
    re.ASCII,
)
_COMPARISON = re.compile(r"(>=|<=|>|<)")


def _number(value: Any) -> Any:
    return read_number(str(value)) if isinstance(value, str | int | float) and not isinstance(value, bool) else value


def _not_negative(value: Any) -> Any:
    found = _number(value)
    if isinstance(found, Fraction) and found < 0:
        raise ExpressionError(f"expected a number that is not negative, received {value}")
    return found


def _range(value: Any) -> Any:
    ends = tuple(map(_number, value)) if isinstance(value, list | tuple) else ()
    if len(ends) != 2 or not all(isinstance(end, Fraction) for end in ends) or ends[0] > ends[1]:
        raise ExpressionError("expected [lowest, highest], two numbers in that order")
    return ends


def _ranges(value: Any) -> Any:
    """Take one range for all inputs, or a list of one each."""
    if isinstance(value, list | tuple) and value and all(isinstance(part, list | tuple) for part in value):
        return tuple(map(_range, value))
    return (_range(value),)


def _several(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else (value,)


Number = Annotated[Fraction, BeforeValidator(_number)]
Size = Annotated[Fraction, BeforeValidator(_not_negative)]
Range = Annotated[tuple[Fraction, Fraction], BeforeValidator(_range)]
Ranges = Annotated[tuple[tuple[Fraction, Fraction], ...], BeforeValidator(_ranges)]
Features = Annotated[tuple[Annotated[int, Field(ge=0)], ...], BeforeValidator(_several), Field(min_length=1)]
Feature = Annotated[int, Field(ge=0)]


class Statement(BaseModel):
    """One property: what must hold, and of which inputs."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    name: str = Field(default="", max_length=200, description="what it is called in reports")
    never: str | None = Field(default=None, description="a class that no input may have")
    stays: str | None = Field(default=None, description="the class that every input must have")
    between: Range | None = Field(default=None, description="lowest and highest value of the output")
    require: str | None = Field(default=None, max_length=2000, description="y[0] - y[2] >= 0.1")
    increasing: Feature | None = Field(default=None, description="an input that never lowers the output")
    decreasing: Feature | None = Field(default=None, description="an input that never raises the output")
    regardless: Features | None = Field(default=None, description="inputs that change nothing")
    output: str | None = Field(default=None, description="an output's name or number")
    tolerance: Size | None = Field(default=None, description="in units of the output, above 0: what is no change")
    box: Ranges | None = Field(default=None, description="[lowest, highest] of all inputs, or a list of one each")
    near: str | tuple[Number, ...] | None = Field(
        default=None, description="a picture, or the input's numbers, which float32 rounds as it does for the network"
    )
    within: Size | None = Field(default=None, description="the largest change, in input units: 2/255")
    norm: Literal["linf", "l2", "l1"] | None = Field(default=None, description="how a change is measured: linf")

    @property
    def kind(self) -> str:
        """The field that says what must hold."""
        return next(kind for kind in _KINDS if getattr(self, kind) is not None)

    @property
    def is_of_pairs(self) -> bool:
        """Whether it is about two inputs."""
        return "tolerance" in _KINDS[self.kind][0]

    @model_validator(mode="after")
    def _check(self) -> Self:
        kinds = [kind for kind in _KINDS if getattr(self, kind) is not None]
        if len(kinds) != 1:
            raise ValueError(f"expected one of {', '.join(_KINDS)}, received {' and '.join(kinds) or 'none'}")
        needed, allowed = _KINDS[self.kind]
        for name in ("output", "tolerance"):
            if getattr(self, name) is not None and name not in (*needed, *allowed):
                raise ValueError(f"expected no {name} beside {self.kind}")
        if "tolerance" in needed and not self.tolerance:
            raise ValueError(
                f"expected a tolerance above 0 beside {self.kind}: two equal inputs have no difference, so none of 0 "
                "can be proved"
            )
        self._check_region()
        return self

    def _check_region(self) -> None:
        if (self.box is None) == (self.near is None):
            raise ValueError("expected either box, or near and within")
        if (self.within is None) != (self.near is None) or (self.norm and self.near is None):
            raise ValueError("expected within beside near, and neither within nor norm beside box")
        if self.is_of_pairs and self.norm not in (None, "linf"):
            raise ValueError(f"expected a box or the norm linf for {self.kind}, received {self.norm}")

    def __str__(self) -> str:
        shown = self.model_dump(exclude_none=True, exclude={"name"})
        return self.name or ", ".join(f"{key} {_shown(value)}" for key, value in shown.items())


class Statements(BaseModel):
    """A file of properties."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    properties: tuple[Statement, ...] = Field(min_length=1, max_length=MOST, description="what must hold")


@dataclass(frozen=True, eq=False)
class Compiled:
    """A statement as what is searched for a counterexample.

    Args:
        property: its cases; of a statement about two inputs over joint inputs and both outputs in one row.
        rows: of each case, exact.
        pair: how two inputs are made of a joint one; None of a statement about one input.
    """

    property: Property
    rows: tuple[Rows, ...]
    pair: Pair | None = None

    def violated(self, y: Iterable[float]) -> bool:
        """Say whether outputs go beyond the limits of some case, in exact arithmetic; to touch them is not enough.

        Args:
            y: (outputs,), or both outputs in one row.
        """
        return any(rows.violated(y) for rows in self.rows)


@dataclass(frozen=True)
class ReadStatements:
    """Statements and the file that they were read from.

    Args:
        statements: as they are understood.
        path: the file.
        written: the file's data with their places.
    """

    statements: Statements
    path: Path
    written: Written

    def compiled(self, bounding: Bounding) -> list[Compiled]:
        """Return the statements as properties of a model.

        Raises:
            UsageError: a picture does not exist.
            RefusedFileError: a statement does not fit the model; all are named, each with its place.
        """
        found: list[Compiled] = []
        faults: list[Fault] = []
        for number, statement in enumerate(self.statements.properties):
            try:
                found.append(_Compiler(statement, bounding, self.path.parent).compiled())
            except (FaultError, _UnfitError) as error:
                field = error.field if isinstance(error, _UnfitError) else statement.kind
                faults.append(Fault(*self.written.place(("properties", number, field)), f"{field}: {error}"))
        if faults:
            raise refused(f"properties {self.path}", faults)
        return found


def read_statements(path: Path) -> ReadStatements:
    """Return the properties in a YAML file.

    Raises:
        UsageError: there is no such file.
        RefusedFileError: it is no list of properties; all faults are named, each with its place.
    """
    written = read(path, "properties")
    return ReadStatements(fitted(written, Statements, f"properties {path}"), path, written)


class _UnfitError(Exception):
    def __init__(self, field: str, words: str) -> None:
        super().__init__(words)
        self.field = field


class _Compiler:
    """Compiles one statement.

    Args:
        statement: what must hold.
        bounding: of the model.
        folder: in which pictures are looked for.
    """

    def __init__(self, statement: Statement, bounding: Bounding, folder: Path) -> None:
        self._said, self._bounding, self._folder = statement, bounding, folder
        self._model: Model = bounding.model
        self._outputs = len(self._model.classes)

    def compiled(self) -> Compiled:
        """Return the property."""
        made: dict[str, Callable[[], list[list[Comparison]]]] = {
            "never": self._never,
            "stays": self._stays,
            "between": self._between,
            "require": self._require,
            "increasing": lambda: self._monotonic(1),
            "decreasing": lambda: self._monotonic(-1),
            "regardless": self._regardless,
        }
        cases, region, pair = made[self._said.kind](), self._region(), self._pair()
        if pair is not None:
            pair = Pair(pair.pairing, pair.moves, region.box.upper[0, 0])
            region = pair.region(region.box)
        outputs = self._outputs * (1 if pair is None else 2)
        rows = tuple(Rows(tuple(case), outputs) for case in cases)
        named = tuple(Case(region, one.matrix, one.limits, one.name) for one in rows)
        return Compiled(Property(named, str(self._said)), rows, pair)

    def _never(self) -> list[list[Comparison]]:
        own = self._answer("never", self._said.never)
        return [[self._beats(own, other) for other in self._others(own)]]

    def _stays(self) -> list[list[Comparison]]:
        own = self._answer("stays", self._said.stays)
        return [[self._beats(other, own)] for other in self._others(own)]

    def _between(self) -> list[list[Comparison]]:
        assert self._said.between is not None
        output = self._output()
        low, high = self._said.between
        return [[_below({output: Fraction(1)}, low)], [_below({output: Fraction(-1)}, -high)]]

    def _require(self) -> list[list[Comparison]]:
        parts = _COMPARISON.split(self._said.require or "")
        if len(parts) != 3:
            raise _UnfitError("require", f"expected one of >=, <=, >, < between two terms, received {parts[0][:60]!r}")
        left, right = (self._linear(part) for part in (parts[0], parts[2]))
        sign = -1 if parts[1][0] == "<" else 1  # unsafe is what lies on the other side
        summed = {key: sign * (left.get(key, Fraction(0)) - right.get(key, Fraction(0))) for key in {*left, *right}}
        limit = -summed.pop(-1, Fraction(0))
        coefficients = {key: value for key, value in sorted(summed.items()) if value}
        if not coefficients:
            raise _UnfitError("require", "expected a statement of the outputs, such as y[0] >= 0.1, received none")
        return [[Comparison("Y", coefficients, limit, len(parts[1]) == 2)]]

    def _monotonic(self, sign: int) -> list[list[Comparison]]:
        output = self._output()
        assert self._said.tolerance is not None
        return [[_below({self._outputs + output: Fraction(sign), output: Fraction(-sign)}, -self._said.tolerance)]]

    def _regardless(self) -> list[list[Comparison]]:
        tolerance = self._said.tolerance
        assert tolerance is not None
        if self._said.output is not None or self._model.card.output == "values":
            output = self._output()  # either input may be the first: one sign is enough
            return [[_below({output: Fraction(-1), self._outputs + output: Fraction(1)}, -tolerance)]]
        answers = range(len(self._model.answers))
        if len(answers) > MOST_ANSWERS:
            raise _UnfitError(
                "regardless", f"expected at most {MOST_ANSWERS} classes, received {len(answers)}: name an output"
            )
        return [
            [*(self._beats(own, every) for every in self._others(own)), self._beats(other, own, tolerance, second=True)]
            for own, other in permutations(answers, 2)
        ]

    def _beats(self, own: int, other: int, by: Fraction = Fraction(0), *, second: bool = False) -> Comparison:
        """Return where an answer is above another, by more than that."""
        start = self._outputs if second else 0
        if self._outputs > 1:
            return _below({start + other: Fraction(1), start + own: Fraction(-1)}, -by)
        middle = Fraction(1, 2) if self._model.card.output == "probabilities" else Fraction(0)
        sign = -1 if own else 1
        return _below({start: Fraction(sign)}, sign * middle - by)

    def _others(self, own: int) -> list[int]:
        return [other for other in range(len(self._model.answers)) if other != own]

    def _answer(self, field: str, wanted: str | None) -> int:
        if self._model.card.output == "values":
            raise _UnfitError(field, "expected a model that scores classes, received one of values: say what outputs")
        return _place(field, "class", str(wanted), self._model.answers)

    def _output(self) -> int:
        if self._said.output is None:
            if self._outputs > 1:
                raise _UnfitError(
                    self._said.kind, f"expected output: its name or number, one of {self._outputs}, received none"
                )
            return 0
        return _place("output", "output", self._said.output, self._model.classes)

    def _linear(self, text: str) -> dict[int, Fraction]:
        """Return a linear term's coefficients by output, -1 for the constant."""
        found: dict[int, Fraction] = {}
        at = 0
        while at < len(text) or not found:
            term = _TERM.match(text, at)
            assert term is not None  # every part of it may be missing
            number, output, times = term["number"], term["output"], term["times"]
            whole = (output is not None or number) and bool(times) == (bool(number) and output is not None)
            if not whole or (at and not term["sign"]):
                raise _UnfitError("require", f"expected terms such as 2 * y[0] or 0.1, received {text[at:].strip()!r}")
            key = -1 if output is None else _place("require", "output", output.strip("'\""), self._model.classes)
            value = Fraction(number or 1) * (-1 if term["sign"] == "-" else 1)
            found[key] = found.get(key, Fraction(0)) + value
            at = term.end()
        return found

    def _pair(self) -> Pair | None:
        """Return how two inputs are made; the largest values come with the region."""
        said = self._said
        if not said.is_of_pairs:
            return None
        if said.regardless is None:
            features = [number for number in (said.increasing, said.decreasing) if number is not None]
        else:
            features = list(said.regardless)
        shape = torch.Size(self._model.input.shape)
        if max(features) >= shape.numel():
            raise _UnfitError(said.kind, f"expected inputs from 0 to {shape.numel() - 1}, received {max(features)}")
        moves = torch.zeros(shape.numel(), dtype=torch.bool, device=self._model.device)
        moves[features] = True
        pairing = Pairing.STEP if said.regardless is None else Pairing.OTHER
        return Pair(pairing, moves.reshape(shape), torch.zeros(shape))

    def _region(self) -> Inputs:
        return self._around() if self._said.box is None else self._boxed(self._said.box)

    def _boxed(self, ranges: Sequence[tuple[Fraction, Fraction]]) -> Inputs:
        shape = torch.Size(self._model.input.shape)
        count = shape.numel()
        if len(ranges) not in (1, count):
            raise _UnfitError(
                "box", f"expected one range, or {count} for inputs of {tuple(shape)}, received {len(ranges)}"
            )
        every = list(ranges) * (count if len(ranges) == 1 else 1)
        low, high = [low_end(one[0]).rounded for one in every], [high_end(one[1]).rounded for one in every]
        ends = (torch.tensor(side, dtype=torch.float64).reshape(shape)[None, None] for side in (low, high))
        box = Interval(*(end.to(self._model.device) for end in ends))
        return Inputs(box, box.middle)

    def _around(self) -> Inputs:
        assert self._said.within is not None
        centre = self._centre()[None].to(self._model.device)
        return self._bounding.inputs(centre, Norm(self._said.norm or "linf"), high_end(self._said.within).rounded)

    def _centre(self) -> torch.Tensor:
        near, shape = self._said.near, torch.Size(self._model.input.shape)
        if isinstance(near, str):
            return self._model.prepare(self._folder / near).tensor
        numbers = [float(number) for number in near or ()]
        if len(numbers) != shape.numel():
            raise _UnfitError("near", f"expected {shape.numel()} numbers, received {len(numbers)}")
        return torch.tensor(numbers, dtype=torch.float32).reshape(shape)


def _below(coefficients: dict[int, Fraction], limit: Fraction) -> Comparison:
    return Comparison("Y", coefficients, limit, strict=True)


def _place(field: str, noun: str, wanted: str, names: Sequence[str]) -> int:
    """Return a name's place; a number where no name reads so."""
    if list(names).count(wanted) > 1:
        raise _UnfitError(field, f"{names.count(wanted)} are called {wanted!r}: give one by its number")
    if wanted in names:
        return names.index(wanted)
    if wanted.isdecimal() and len(wanted) < 10 and int(wanted) < len(names):
        return int(wanted)
    raise _UnfitError(field, str(unknown(noun, wanted, names)))


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        shown = ", ".join(map(_shown, value[:4]))
        return f"[{shown}{', ...' if len(value) > 4 else ''}]"
    return str(value)
