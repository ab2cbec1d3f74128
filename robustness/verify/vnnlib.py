"""Properties in VNN-LIB 1.0 files: boxes of inputs, and the outputs that must not come from them.

Every decimal is read exactly. What is proved is about float64 numbers that are rounded so that they allow more: boxes
outwards, limits upwards. Whether an input and its output are a counterexample is decided on the exact numbers.
"""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import torch

from xai.errors import RefusedFileError, UsageError
from xai.models.model import Model
from xai.robustness.bounds.inputs import Inputs
from xai.robustness.bounds.interval import Interval
from xai.robustness.verify.box import Box, End, high_end, is_empty, low_end, tighter
from xai.robustness.verify.property import Case, Property
from xai.robustness.verify.rows import Comparison, FaultError, Rows, floats
from xai.robustness.verify.smtlib import MAX_PARTS, Script, parse

MAX_BYTES = 2**27  # of a file, unpacked
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True, eq=False)
class RawCase:
    """One way to violate a property: an input of the box whose output satisfies every row at once.

    Args:
        box: of the inputs; cases of the same box share it.
        rows: of the outputs.
    """

    box: Box
    rows: Rows

    @property
    def lower(self) -> torch.Tensor:
        """Lower ends of the box (inputs,) float64, rounded outwards."""
        return self.box.lower

    @property
    def upper(self) -> torch.Tensor:
        """Upper ends of the box (inputs,) float64, rounded outwards."""
        return self.box.upper

    @property
    def matrix(self) -> torch.Tensor:
        """Coefficients of the rows (rows, outputs) float64, exact."""
        return self.rows.matrix

    @property
    def limits(self) -> torch.Tensor:
        """Limits of the rows (rows,) float64, rounded up."""
        return self.rows.limits

    def contains(self, x: Iterable[float]) -> bool:
        """Say whether an input (inputs,) lies in the box as it is written, in exact arithmetic."""
        return self.box.contains(x)

    def violated(self, y: Iterable[float]) -> bool:
        """Say whether an output (outputs,) satisfies every row as it is written, in exact arithmetic."""
        return self.rows.violated(y)


@dataclass(frozen=True, eq=False)
class Spec:
    """What a VNN-LIB file asks: is there an input of some case's box whose output is unsafe in that case?

    Args:
        inputs: how many.
        outputs: how many.
        cases: the ways to violate the property; at least one.
        empty: how many more cases were written whose box holds no input: nothing is said of them.
        source: the file.
    """

    inputs: int
    outputs: int
    cases: tuple[RawCase, ...]
    empty: int = 0
    source: str = ""

    def contains(self, x: Iterable[float]) -> bool:
        """Say whether an input (inputs,) lies in a box of any case as it is written, in exact arithmetic."""
        values = floats(x)
        return any(case.contains(values) for case in self.cases)

    def violated(self, x: Iterable[float], y: Iterable[float]) -> bool:
        """Say whether an input (inputs,) with its output (outputs,) is a counterexample, in exact arithmetic.

        Both are about the same case; outputs must be those of the network, for x.
        """
        inputs, outputs = floats(x), floats(y)
        return any(case.violated(outputs) and case.contains(inputs) for case in self.cases)


def read(path: Path) -> Spec:
    """Return what a VNN-LIB 1.0 file asks; the file may be compressed with gzip.

    Raises:
        UsageError: there is no such file.
        RefusedFileError: it is no VNN-LIB 1.0, or asks nothing that can be proved: an input without bounds, a box
            without inputs, constraints that couple inputs, or none of the outputs.
    """
    if not path.is_file():
        raise UsageError(f"property {path} does not exist")
    text = _text(path)
    try:
        return _spec(parse(text), str(path))
    except FaultError as fault:
        line = text.count("\n", 0, fault.at) + 1
        raise RefusedFileError(f"property {path}, line {line}: {fault.words}") from None


def property_of(spec: Spec, shape: Sequence[int], layout: str = "channels first") -> Property:
    """Return a property of a model whose inputs are the X in row-major order.

    Args:
        spec: what is asked.
        shape: of one input of the model, without the batch.
        layout: where the file's network has the channels; the model's shape names them first in either case.

    Raises:
        UsageError: the shape has another number of inputs.
    """
    if math.prod(shape) != spec.inputs:
        given = " x ".join(map(str, shape))
        raise UsageError(
            f"property {spec.source}: expected a network of {spec.inputs} inputs (X_0 to X_{spec.inputs - 1}), "
            f"received one of {math.prod(shape)} ({given}): give the network that the property was written for"
        )
    regions: dict[Box, Inputs] = {}
    cases = []
    for case in spec.cases:
        if case.box not in regions:
            ends = Interval(*(_shaped(end, shape, layout)[None, None] for end in (case.lower, case.upper)))
            regions[case.box] = Inputs(ends, ends.middle)
        least, most = (_shaped(end, shape, layout) for end in case.box.single)
        cases.append(Case(regions[case.box], case.matrix, case.limits, case.rows.name, (least, most)))
    return Property(tuple(cases), spec.source)


def fitted(spec: Spec, model: Model) -> Property:
    """Return a property of a model.

    Raises:
        UsageError: the model has other inputs or outputs, or its card changes what its file takes.
    """
    given, outputs = model.input, len(model.classes)
    if outputs != spec.outputs:
        raise UsageError(
            f"property {spec.source}: expected a network of {spec.outputs} outputs (Y_0 to Y_{spec.outputs - 1}), "
            f"received one of {outputs}: give the network that the property was written for"
        )
    if set(given.mean) != {0.0} or set(given.std) != {1.0}:
        raise UsageError(
            f"property {spec.source}: expected a network that takes X as it is, received one whose card subtracts a "
            "mean or divides by a std: leave them out, a VNN-LIB file is about what the network's file takes"
        )
    return property_of(spec, given.shape, given.layout)


def flat(x: torch.Tensor, layout: str = "channels first") -> torch.Tensor:
    """Return one input of a model as X (inputs,): row-major, in the order of the file's network."""
    return (x.permute(1, 2, 0) if layout == "channels last" else x).flatten()


def counterexample_text(x: Iterable[float], y: Iterable[float]) -> str:
    """Return an input (inputs,) and its output (outputs,) in VNN-LIB's form; every number reads back exactly."""
    pairs = [(f"{kind}_{number}", value) for kind, part in (("X", x), ("Y", y)) for number, value in _numbered(part)]
    return "(" + "\n ".join(f"({name} {value!r})" for name, value in pairs) + ")"


def _numbered(values: Iterable[float]) -> Iterable[tuple[int, float]]:
    return enumerate(floats(values))


def _shaped(values: torch.Tensor, shape: Sequence[int], layout: str) -> torch.Tensor:
    if layout == "channels last":
        channels, rows, columns = shape
        return values.reshape(rows, columns, channels).permute(2, 0, 1).contiguous()
    return values.reshape(tuple(shape))


def _text(path: Path) -> str:
    """Return a file's text, unpacked; raise RefusedFileError where it is none or too large."""
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == _GZIP
            raw.seek(0)
            file = cast("IO[bytes]", gzip.GzipFile(fileobj=raw)) if packed else raw
            content = file.read(MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        why = " ".join(str(error).split())[:200]
        raise RefusedFileError(f"property {path} cannot be read: {why}; expected a whole VNN-LIB file") from error
    if len(content) > MAX_BYTES:
        raise RefusedFileError(f"property {path}: expected at most {MAX_BYTES} bytes of text, received more")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RefusedFileError(
            f"property {path}: expected UTF-8 text in VNN-LIB 1.0, received a byte that is part of no letter, number "
            f"{error.start}"
        ) from None
    if "\0" in text:
        raise RefusedFileError(f"property {path}: expected text in VNN-LIB 1.0, received a binary file")
    return text


def _spec(script: Script, source: str) -> Spec:
    boxes = _Boxes(script)
    common = [one for one in script.common if one.kind == "Y"]
    _check_size(script, len(common))
    cases = []
    for comparisons in script.cases:
        box = boxes.narrowed([one for one in comparisons if one.kind == "X"])
        rows = [*common, *(one for one in comparisons if one.kind == "Y")]
        if not rows:
            at = comparisons[0].at if comparisons else 0
            raise FaultError(
                at, "expected a constraint of the outputs in every case, received none: nothing would be unsafe"
            )
        if box is not None:
            cases.append(RawCase(box, Rows(tuple(rows), script.outputs)))
    if not cases:
        raise FaultError(
            0,
            "expected a box that holds inputs, received constraints that contradict each other: a proof about no input "
            "is no proof",
        )
    return Spec(script.inputs, script.outputs, tuple(cases), len(script.cases) - len(cases), source)


def _check_size(script: Script, common: int) -> None:
    """Raise FaultError if the boxes and matrices of all cases would fill the memory."""
    boxed = 1 + sum(any(one.kind == "X" for one in case) for case in script.cases)
    rows = sum(common + len(case) for case in script.cases)
    size = max(boxed * script.inputs, rows * script.outputs)
    if size > MAX_PARTS:
        raise FaultError(
            0, f"expected cases of at most {MAX_PARTS} numbers, received {size}: split it into several files"
        )


class _Boxes:
    """The boxes of a script: what is asserted in every case, narrowed by a case's own comparisons."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._low: dict[int, End] = {}
        self._high: dict[int, End] = {}
        _narrow(self._low, self._high, (one for one in script.common if one.kind == "X"))
        self._made: dict[tuple[int, ...], Box | None] = {}

    def narrowed(self, comparisons: list[Comparison]) -> Box | None:
        """Return the box of a case; None if no input lies in it; raise FaultError if an input has no bounds."""
        key = tuple(one.at for one in comparisons)
        if key not in self._made:
            low, high = dict(self._low), dict(self._high)
            _narrow(low, high, comparisons)
            self._made[key] = self._box(low, high)
        return self._made[key]

    def _box(self, low: dict[int, End], high: dict[int, End]) -> Box | None:
        for ends, side in ((low, "lower"), (high, "upper")):
            if len(ends) < self._script.inputs:
                name = next(f"X_{number}" for number in range(self._script.inputs) if number not in ends)
                raise FaultError(
                    self._script.places[name],
                    f"expected a lower and an upper bound of {name} in every case, received no {side} one: a box "
                    "without an end cannot be proved",
                )
        numbers = range(self._script.inputs)
        if any(is_empty(low[number], high[number]) for number in numbers):
            return None
        return Box(tuple(low[number] for number in numbers), tuple(high[number] for number in numbers))


def _narrow(low: dict[int, End], high: dict[int, End], comparisons: Iterable[Comparison]) -> None:
    for one in comparisons:
        if len(one.coefficients) > 1:
            names = " and ".join(f"X_{number}" for number in sorted(one.coefficients)[:3])
            raise FaultError(
                one.at, f"expected bounds of single inputs, received one that couples {names}: it is no box"
            )
        ((number, factor),) = one.coefficients.items()
        upper = factor > 0
        side = high if upper else low
        end = (high_end if upper else low_end)(one.limit / factor, one.strict, one.at)
        old = side.get(number)
        side[number] = end if old is None else tighter(old, end, upper=upper)
