"""VNN-LIB files: what they say against a slow second evaluation, and what is refused."""

from __future__ import annotations

import contextlib
import gzip
import math
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import xai
from xai.errors import RefusedFileError, UsageError
from xai.robustness.verify import vnnlib
from xai.robustness.verify.rows import FaultError
from xai.robustness.verify.smtlib import parse
from xai.robustness.verify.vnnlib import Spec, counterexample_text, fitted, flat, property_of, read

HEAD = "(declare-const X_0 Real)(declare-const X_1 Real)(declare-const Y_0 Real)(declare-const Y_1 Real)\n"
BOX = "(assert (<= 0 X_0 1))(assert (<= 0 X_1 1))\n"
UNSAFE = "(assert (<= Y_0 Y_1))\n"


def said(text: str, folder: Path, name: str = "a.vnnlib") -> Spec:
    path = folder / name
    path.write_text(text)
    return read(path)


def fault(text: str | bytes, folder: Path) -> str:
    path = folder / "bad.vnnlib"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(RefusedFileError) as caught:
        read(path)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"property {path}")


# A second evaluation, of the text itself: lists of lists, numbers as fractions.


def listed(text: str) -> list[object]:
    words = text.replace("(", " ( ").replace(")", " ) ").split()
    rows: list[list[object]] = [[]]
    for word in words:
        if word == "(":
            rows.append([])
        elif word == ")":
            rows[-2].append(rows.pop())
        else:
            rows[-1].append(word)
    return rows[0]


def value(term: object, point: dict[str, Fraction]) -> Fraction:
    if isinstance(term, str):
        return point[term] if term in point else Fraction(term)
    assert isinstance(term, list)
    parts = [value(part, point) for part in term[1:]]
    if term[0] == "*":
        return math.prod(parts, start=Fraction(1))
    if term[0] == "/":
        return parts[0] / parts[1]
    if term[0] == "-":
        return -parts[0] if len(parts) == 1 else parts[0] - sum(parts[1:])
    return sum(parts, Fraction(0))


def holds(formula: object, point: dict[str, Fraction]) -> bool:
    assert isinstance(formula, list)
    head, *parts = formula
    if head in ("and", "or"):
        return (all if head == "and" else any)(holds(part, point) for part in parts)
    left, right = (value(part, point) for part in parts)
    return {"<=": left <= right, "<": left < right, ">=": left >= right, ">": left > right, "=": left == right}[head]


numbers = st.sampled_from(["0", "-1.5", "1.", ".5", "1e-1", "(- 0.5)", "0.3", "25e-2", "1"])
factors = st.sampled_from(["2", "-3", "0.1", "(- 0.7)"])


def terms(kind: str) -> st.SearchStrategy[str]:
    names = st.sampled_from([f"{kind}_0", f"{kind}_1"])
    leaf = (
        names
        | st.builds("(* {} {})".format, factors, names)
        | st.builds("({} {} {})".format, st.sampled_from("*/"), names, factors)
    )
    if kind == "X":
        return leaf
    return st.recursive(
        leaf | numbers,
        lambda one: st.builds("({} {} {})".format, st.sampled_from("+-"), one, one) | st.builds("(- {})".format, one),
        max_leaves=4,
    )


relations = st.sampled_from(["<=", ">=", "<", ">", "="])
inputs = st.builds("({} {} {})".format, relations, terms("X"), numbers) | st.builds(
    "({} {} {})".format, relations, numbers, terms("X")
)
comparisons = inputs | st.builds("({} {} {})".format, relations, terms("Y"), terms("Y"))
formulas = st.recursive(
    comparisons,
    lambda one: st.builds(
        lambda head, parts: f"({head} {' '.join(parts)})",
        st.sampled_from(["and", "or"]),
        st.lists(one, min_size=1, max_size=3),
    ),
    max_leaves=10,
)
coordinates = st.sampled_from([-1.5, -1.0, -0.5, 0.0, 0.1, 0.25, 0.3, 0.5, 1.0]) | st.floats(-2, 2)


@settings(max_examples=300, deadline=None)
@given(
    asserted=st.lists(formulas, min_size=1, max_size=3),
    points=st.lists(st.tuples(*[coordinates] * 4), min_size=1, max_size=12),
)
def test_a_file_says_what_its_expression_says(
    asserted: list[str], points: list[tuple[float, ...]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    box = "".join(f"(assert (>= X_{n} -1.5))(assert (<= X_{n} 1))" for n in (0, 1))
    text = box + "(assert (<= Y_0 (+ Y_1 1.7)))" + "".join(f"(assert {one})" for one in asserted)
    written = listed(text)
    spec: Spec | None = None
    with contextlib.suppress(RefusedFileError):  # no input, and so no counterexample below
        spec = said(HEAD + text, tmp_path_factory.mktemp("vnnlib"))
    for point in points:
        named = dict(zip(("X_0", "X_1", "Y_0", "Y_1"), map(Fraction, point), strict=True))
        wanted = all(holds(one[1], named) for one in written if isinstance(one, list))
        assert (spec.violated(point[:2], point[2:]) if spec else False) == wanted
        if wanted and spec:  # what is proved allows no less
            x, y = torch.tensor(point[:2], dtype=torch.float64), torch.tensor(point[2:], dtype=torch.float64)
            inside = [case for case in spec.cases if ((case.lower <= x) & (x <= case.upper)).all()]
            assert any((case.matrix @ y <= case.limits + 1e-12).all() for case in inside)


def test_decimals_that_are_no_float64_are_rounded_so_that_more_is_allowed(tmp_path: Path) -> None:
    text = HEAD + "(assert (<= 0.1 X_0 0.7))(assert (<= -0.7 X_1 -0.1))(assert (<= Y_0 0.7))(assert (>= Y_1 0.1))"
    (case,) = said(text, tmp_path).cases
    exact = {"low": ("0.1", "-0.7"), "high": ("0.7", "-0.1")}
    for number in (0, 1):
        low, high = Fraction(float(case.lower[number])), Fraction(float(case.upper[number]))
        wanted_low, wanted_high = Fraction(exact["low"][number]), Fraction(exact["high"][number])
        assert low <= wanted_low < Fraction(math.nextafter(low, math.inf))
        assert Fraction(math.nextafter(high, -math.inf)) < wanted_high <= high
    limits = [Fraction(float(limit)) for limit in case.limits]
    assert limits[0] >= Fraction("0.7") > Fraction(math.nextafter(float(limits[0]), -1))
    assert limits[1] >= Fraction("-0.1") > Fraction(math.nextafter(float(limits[1]), -1))
    assert case.matrix.tolist() == [[1.0, 0.0], [0.0, -1.0]]


def test_coefficients_that_are_no_float64_are_scaled_until_they_are(tmp_path: Path) -> None:
    (case,) = said(HEAD + BOX + "(assert (<= (- (* 0.1 Y_0) (* 0.3 Y_1)) 0.7))", tmp_path).cases
    assert case.matrix.tolist() == [[1.0, -3.0]]
    assert float(case.limits[0]) == 7.0
    assert "more digits" in fault(HEAD + BOX + "(assert (<= (- Y_0 (* 0.12345678901234567891 Y_1)) 0))", tmp_path)


def test_an_input_is_inside_by_its_decimals_and_not_by_their_float64(tmp_path: Path) -> None:
    decimal = "0.029999999329447746"  # the shortest text of float32(0.03); it is a little less than that
    (case,) = said(HEAD + f"(assert (<= 0 X_0 {decimal}))(assert (<= 0 X_1 1))" + UNSAFE, tmp_path).cases
    above = float(np.float32(0.03))
    assert float(decimal) == above
    assert not case.contains([above, 0.5])
    low, high = case.box.single
    assert low.tolist() == [0.0, 0.0]
    assert float(high[0]) == float(np.nextafter(np.float32(0.03), np.float32(0)))
    assert case.contains(high)
    assert case.contains([0.0, 1.0])
    assert not case.contains([math.nan, 0.5])
    assert not case.contains([-math.inf, 0.5])


def test_a_range_without_a_float32_has_none(tmp_path: Path) -> None:
    text = HEAD + "(assert (<= 0.1 X_0 0.1))(assert (<= 1e300 X_1 2e300))" + UNSAFE
    low, high = said(text, tmp_path).cases[0].box.single
    assert (low > high).all()


def test_strict_ends_are_left_out_of_counterexamples_only(tmp_path: Path) -> None:
    text = HEAD + "(assert (< 0 X_0))(assert (> 1 X_0))(assert (<= 0 X_1 1))(assert (< Y_0 Y_1))"
    (case,) = said(text, tmp_path).cases
    assert (case.lower[0], case.upper[0], case.limits[0]) == (0, 1, 0)
    assert [case.contains([x, 0]) for x in (0.0, 0.5, 1.0)] == [False, True, False]
    assert [case.violated(y) for y in ([0, 0], [0, 1])] == [False, True]
    low, high = case.box.single
    assert 0 < low[0] < 1e-44
    assert high[0] == np.nextafter(np.float32(1), np.float32(0))


def test_outputs_that_are_no_numbers_violate_nothing(tmp_path: Path) -> None:
    spec = said(HEAD + BOX + UNSAFE, tmp_path)
    assert spec.violated([0, 0], [0, 1])
    assert not spec.violated([0, 0], [0, math.inf])
    assert not spec.violated([0, 0], [math.nan, 0])


def test_bounds_of_one_input_intersect_and_cases_of_one_box_share_it(tmp_path: Path) -> None:
    text = HEAD + BOX + "(assert (<= X_0 0.5))(assert (<= X_0 0.75))(assert (<= (* -4 X_0) -1))"
    branches = "(or (and (<= X_1 0.5) (>= Y_0 1)) (and (<= X_1 0.25) (or (>= Y_0 2) (>= Y_1 2))) (>= Y_0 3))"
    spec = said(text + f"(assert {branches})", tmp_path)
    assert [(case.lower.tolist(), case.upper.tolist()) for case in spec.cases] == [
        ([0.25, 0.0], [0.5, 0.5]),
        ([0.25, 0.0], [0.5, 0.25]),
        ([0.25, 0.0], [0.5, 0.25]),
        ([0.25, 0.0], [0.5, 1.0]),
    ]
    assert spec.cases[1].box is spec.cases[2].box
    made = property_of(spec, (2,))
    assert made.cases[1].region is made.cases[2].region


def test_cases_without_inputs_are_counted_and_left_out(tmp_path: Path) -> None:
    sides = "(assert (or (<= X_0 0.25) (>= X_0 0.75)))(assert (or (<= X_0 0.125) (>= X_0 0.875)))"
    spec = said(HEAD + BOX + sides + UNSAFE, tmp_path)
    assert (len(spec.cases), spec.empty) == (2, 2)


def test_layout_of_the_text_does_not_matter(tmp_path: Path) -> None:
    text = (
        "\ufeff; comment (with ; signs\r\n(set-logic QF_LRA)(declare-fun Y_1 () Real)\t(declare-const\nX_1\nReal);\n"
        '(declare-const Y_0 Real)(declare-fun X_0() Real)(set-info :source "a ) text")'
        "(assert(and(>= X_0 -1.5)(<= X_0 1.)(and(>= X_1 (- 0.5))(<= X_1 1e-5))))"
        "(assert(or(and(<= Y_0 Y_1))))(check-sat)"
    )
    (case,) = said(text, tmp_path).cases
    assert case.lower.tolist() == [-1.5, -0.5]
    assert case.upper.tolist() == [1.0, 1e-5]
    assert case.matrix.tolist() == [[1.0, -1.0]]


@pytest.mark.parametrize("depth", [50_000])
def test_deep_nesting_is_read(depth: int, tmp_path: Path) -> None:
    nested = "(and (or " * depth + "(<= Y_0 1)" + "))" * depth
    summed = "(<= " + "(+ Y_0 " * depth + "0" + ")" * depth + " 1)"
    (case,) = said(HEAD + BOX + f"(assert {nested})(assert {summed})", tmp_path).cases
    assert sorted(case.matrix[:, 0].tolist()) == [1.0, float(depth)]


def test_a_compressed_file_is_read_and_a_bomb_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = tmp_path / "a.vnnlib.gz"
    packed.write_bytes(gzip.compress((HEAD + BOX + UNSAFE).encode()))
    assert len(read(packed).cases) == 1
    monkeypatch.setattr(vnnlib, "MAX_BYTES", 1000)
    assert "at most 1000 bytes" in fault(gzip.compress(b" " * 10**6), tmp_path)
    assert "cannot be read" in fault(packed.read_bytes()[:-12], tmp_path)


MALFORMED = {
    "no output constraint": (BOX, "expected a constraint of the outputs in every case"),
    "none in one case": (
        BOX + "(assert (or (<= Y_0 1)\n(<= X_0 0.5)))",
        ", line 4: expected a constraint of the out",
    ),
    "cut short": (BOX + "(assert (or (<= Y_0 1)", "the file is cut short"),
    "closed twice": (BOX + UNSAFE + ")", ", line 4: expected a command, received ')'"),
    "not closed": ("(assert (<= X_0 1)\n(assert (>= X_0 0))", "a ')' is missing before it"),
    "undeclared": (BOX + "(assert (<= Y_2 1))", ", line 3: Y_2 is not declared: add (declare-const Y_2 Real)"),
    "declared twice": ("(declare-const X_0 Real)", "X_0 is declared twice"),
    "a gap": ("(declare-const X_3 Real)", "expected inputs numbered from 0 on, received X_3 and no X_2"),
    "a type": ("(declare-const X_2 Int)", "the type Real, received 'X_2 Int'"),
    "a name": ("(declare-const Z Real)", "expected an input X_i or an output Y_j"),
    "no upper bound": ("(assert (<= 0 X_0 1))(assert (<= 0 X_1))" + UNSAFE, "upper bound of X_1 in every case"),
    "no bounds in a case": (
        "(assert (<= 0 X_0 1))(assert (or (and (<= 0 X_1 1) (<= Y_0 1)) (<= Y_1 1)))",
        "a lower and an upper bound of X_1 in every case, received no lower one",
    ),
    "contradictory": (BOX + "(assert (>= X_0 2))" + UNSAFE, "a proof about no input is no proof"),
    "open and empty": (BOX + "(assert (< X_0 0))" + UNSAFE, "a proof about no input is no proof"),
    "false": (BOX + "(assert (<= 1 0))" + UNSAFE, "a proof about no input is no proof"),
    "coupled": (BOX + "(assert (<= X_0 X_1))" + UNSAFE, ", line 3: expected bounds of single inputs"),
    "mixed": (BOX + "(assert (<= X_0 Y_1))", "received one of both"),
    "product": (BOX + "(assert (<= (* Y_0 Y_1) 1))", "a product of variables"),
    "quotient": (BOX + "(assert (<= (/ 1 Y_1) 1))", "a division by a variable"),
    "division": (BOX + "(assert (<= (/ Y_1 0) 1))", "a divisor that is not 0"),
    "nan": (BOX + "(assert (<= Y_0 nan))", "expected a finite number, received 'nan'"),
    "inf": ("(assert (<= X_0 +inf))", "expected a finite number"),
    "overflow": (BOX + "(assert (<= Y_0 1e400))", "beyond 1.8e308"),
    "exponent": (BOX + "(assert (<= Y_0 1e999999999))", "1000 as exponent"),
    "word": (BOX + "(assert (<= Y_0 one))", "expected a number, X_i or Y_j, received 'one'"),
    "operator": (BOX + "(assert (not (<= Y_0 1)))", "the opposite comparison"),
    "nested assert": ("(assert (assert (<= X_0 1)))", "expected one of"),
    "term for formula": (BOX + "(assert (+ Y_0 1))", "received a term"),
    "formula for term": (BOX + "(assert (<= (<= Y_0 1) 1))", "received a comparison"),
    "one term": (BOX + "(assert (<= Y_0))", "expected two terms"),
    "no terms": (BOX + "(assert (<= (+) Y_0))", "expected terms after +"),
    "not a command": (BOX + "hello", "expected a command in parentheses, received 'hello'"),
    "nothing": ("()", "expected one of assert"),
    "other version": ("(vnnlib-version <2.0>)", "VNN-LIB 2"),
    "exploding": (
        BOX + "(assert (and " + "(or (<= Y_0 1) (<= Y_1 1))" * 40 + "))",
        f"expected at most 16384 cases of 16777216 comparisons, received {2**40} of up to",
    ),
    "growing": (BOX + "(assert (<= " + "(* 1e1000 " * 9 + "Y_0" + ")" * 9 + " 1))", "bits"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_what_cannot_be_proved_is_refused_with_its_line(name: str, tmp_path: Path) -> None:
    text, words = MALFORMED[name]
    found = fault(HEAD + text, tmp_path)
    assert words in found
    assert ", line " in found


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    assert "UTF-8" in fault(b"\xff\xfe\x00(", tmp_path)
    assert "binary" in fault(b"\x00" * 100, tmp_path)
    assert "at least one input" in fault("; nothing\n", tmp_path)
    assert "at least one output" in fault("(declare-const X_0 Real)", tmp_path)
    with pytest.raises(UsageError, match="does not exist"):
        read(tmp_path / "none.vnnlib")


PIECES = [HEAD, "(assert", "(<= ", "X_0", "Y_0", "1", ")", "(or ", "(and ", "(", "-"]


@settings(max_examples=300, deadline=None)
@given(
    st.text(st.sampled_from(list("()<=>+-*/;XY_01 .e\n")), max_size=60)
    | st.lists(
        st.sampled_from([HEAD, "(assert", "(<= ", "X_0", "Y_0", "1", ")", "(or ", "(and ", "(", "-"]), max_size=30
    ).map(" ".join)
)
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(FaultError):
        assert parse(text).inputs >= 1


def test_a_property_is_of_a_model_with_as_many_inputs_and_outputs(tmp_path: Path) -> None:
    spec = said(HEAD + BOX + UNSAFE, tmp_path)
    made = fitted(spec, xai.load(nn.Linear(2, 2).eval(), shape=(2,)))
    (case,) = made.cases
    assert case.region.box.lower.shape == (1, 1, 2)
    assert case.region.box.lower.dtype == torch.float64
    assert case.slack(torch.tensor([[3.0, 1.0], [1.0, 1.0], [0.0, 1.0]])).tolist() == [2.0, 0.0, -1.0]
    with pytest.raises(UsageError, match=r"of 2 inputs \(X_0 to X_1\), received one of 3"):
        fitted(spec, xai.load(nn.Linear(3, 2).eval(), shape=(3,)))
    with pytest.raises(UsageError, match=r"of 2 outputs \(Y_0 to Y_1\), received one of 3"):
        fitted(spec, xai.load(nn.Linear(2, 3).eval(), shape=(2,)))
    with pytest.raises(UsageError, match="subtracts a mean"):
        fitted(spec, xai.load(nn.Linear(2, 2).eval(), shape=(2,), mean=[0.5], std=[1.0]))


def test_inputs_are_in_row_major_order_of_the_network_itself(tmp_path: Path) -> None:
    names = "".join(f"(declare-const X_{n} Real)(assert (<= {n} X_{n} {n + 1}))" for n in range(12))
    spec = said("(declare-const Y_0 Real)" + names + "(assert (<= Y_0 0))", tmp_path)
    first = property_of(spec, (3, 2, 2)).cases[0].region.box.lower[0, 0]
    assert torch.equal(first, torch.arange(12.0).reshape(3, 2, 2).double())
    last = property_of(spec, (3, 2, 2), "channels last").cases[0].region.box.lower[0, 0]
    assert torch.equal(last, torch.arange(12.0).reshape(2, 2, 3).permute(2, 0, 1).double())
    assert torch.equal(flat(first), torch.arange(12.0).double())
    assert torch.equal(flat(last, "channels last"), torch.arange(12.0).double())


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=5))
def test_a_counterexample_reads_back_exactly(values: list[float]) -> None:
    x = torch.tensor(values, dtype=torch.float32)
    rows = listed(counterexample_text(x, x[:1]))[0]
    assert isinstance(rows, list)
    assert [row[0] for row in rows] == [*(f"X_{n}" for n in range(len(values))), "Y_0"]
    assert [np.float32(row[1]) for row in rows] == [*map(np.float32, values), np.float32(values[0])]


def test_a_counterexample_has_a_pair_a_line() -> None:
    assert counterexample_text([0.5, 1], torch.tensor([0.25])) == "((X_0 0.5)\n (X_1 1.0)\n (Y_0 0.25))"


def vnnlib_files(folder: Path) -> Iterator[tuple[str, Spec]]:
    for path in sorted((folder / "verification").glob("*/vnnlib/*")):
        yield path.parent.parent.name, read(path)


def test_every_file_of_the_benchmarks_is_read(data: Path) -> None:
    found: Counter[tuple[object, ...]] = Counter()
    for name, spec in vnnlib_files(data):
        rows = tuple(sorted({len(case.limits) for case in spec.cases}))
        found[name, spec.inputs, spec.outputs, len(spec.cases), rows, len({case.box for case in spec.cases})] += 1
        low, high = spec.cases[0].box.single
        assert spec.contains(low)
        assert spec.contains(high)
        assert not spec.contains(high + 1)
    assert found == {
        ("acasxu", 5, 5, 1, (1,), 1): 1,
        ("acasxu", 5, 5, 1, (4,), 1): 3,
        ("acasxu", 5, 5, 2, (3,), 1): 1,
        ("acasxu", 5, 5, 3, (2,), 1): 1,
        ("acasxu", 5, 5, 4, (1,), 1): 2,
        ("acasxu", 5, 5, 8, (1,), 2): 1,
        ("cifar10_resnet2b", 3072, 10, 9, (1,), 1): 10,
        ("mnist_conv_avgpool", 784, 10, 9, (1,), 1): 40,
        ("mnist_fc", 784, 10, 9, (1,), 1): 30,
        ("oval21_base", 3072, 10, 9, (1,), 1): 10,
    }
