"""The text of a VNN-LIB 1.0 file as comparisons in disjunctive normal form, all numbers exact.

VNN-LIB 1.0 is a part of SMT-LIB 2: declarations of inputs X_i and outputs Y_j, and assertions made of comparisons of
linear terms, `and` and `or`. Each list is reduced when its parenthesis closes: there is no tree, and nothing recurses.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import TypeVar

from xai.robustness.verify.rows import Comparison, FaultError

MAX_CASES = 2**14  # of a disjunctive normal form
MAX_PARTS = 2**24  # comparisons in all of them
MAX_DIGITS, MAX_EXPONENT, MAX_BITS = 2000, 1000, 8192  # of a number: one that is larger is no measurement
SHOWN = 40  # letters of what was received

_TOKEN = re.compile(r';[^\n]*|[()]|"[^"]*"|[^\s();"]+')
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE]([+-]?\d{1,9}))?", re.ASCII)
_NAME = re.compile(r"([XY])_(0|[1-9]\d{0,8})", re.ASCII)
_UNREAL = re.compile(r"[+-]?(nan|inf|infinity)", re.ASCII | re.IGNORECASE)
_IDLE = ("set-logic", "set-info", "set-option", "check-sat", "get-model", "exit")  # say nothing of what is asked
_EMPTY = "()"
_ZERO, _ONE = Fraction(0), Fraction(1)

_T = TypeVar("_T")
Linear = dict[str, Fraction]  # coefficients by variable; "" has the constant
Formula = list[list[Comparison]]  # or of ands; each list has one owner, which may change it
Part = str | Linear | Formula


@dataclass(frozen=True, eq=False)
class Script:
    """What a text says.

    Args:
        inputs: how many are declared.
        outputs: how many are declared.
        common: comparisons that are asserted in every case.
        cases: the other comparisons of each case, of which one holds.
        places: of the declarations, by name.
    """

    inputs: int
    outputs: int
    common: list[Comparison]
    cases: Formula
    places: dict[str, int]


def parse(text: str) -> Script:
    """Return what a text says; raise FaultError, with the place, where it is no VNN-LIB 1.0."""
    reader = _Reader()
    stack: list[list[Part]] = []
    opened: list[int] = []
    for found in _TOKEN.finditer(text):
        token, at = found[0], found.start()
        if token == "(":
            stack.append([])
            opened.append(at)
        elif token == ")":
            if not stack:
                raise FaultError(at, "expected a command, received ')' that nothing opened: remove it")
            parts = stack.pop()
            made = reader.reduced(parts, opened.pop(), within=bool(stack))
            if stack and made is not None:
                stack[-1].append(made)
        elif token[0] != ";":
            if not stack:
                raise FaultError(at, f"expected a command in parentheses, received {shown(token)}")
            stack[-1].append(token)
    if stack:
        raise FaultError(opened[0], "expected ')', received the file's end: the file is cut short or a ')' is missing")
    return reader.finished()


def shown(text: str) -> str:
    """Return a part of a text fit for a message."""
    return repr(text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}...")


class _Reader:
    """Reduces lists to what they mean, and keeps what was declared and asserted."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}
        self._asserted: list[Formula] = []
        self._made: dict[str, Callable[[str, Sequence[Part], int], Part]] = {
            **dict.fromkeys(("<=", ">=", "<", ">", "="), self._comparison),
            **dict.fromkeys(("and", "or"), self._joined),
            **dict.fromkeys(("+", "-"), self._sum),
            **dict.fromkeys(("*", "/"), self._product),
        }
        self._commands: dict[str, Callable[[Sequence[Part], int], None]] = {
            "assert": self._assert,
            "declare-const": self._declare,
            "declare-fun": self._declare,
            **dict.fromkeys(_IDLE, lambda _parts, _at: None),
        }

    def reduced(self, parts: list[Part], at: int, *, within: bool) -> Part | None:
        """Return what a list means: nothing if it is a command.

        Args:
            parts: of the list; those that were lists are reduced.
            at: place of its opening.
            within: whether it stands in another list.
        """
        if not parts and within:
            return _EMPTY
        head = parts[0] if parts else _EMPTY
        known = self._made if within else self._commands
        if not isinstance(head, str) or head not in known:
            received = shown(head) if isinstance(head, str) else _noun(head)
            raise FaultError(
                at, f"expected one of {', '.join(known)} after '(', received {received}{self._advice(head)}"
            )
        if within:
            return self._made[head](head, parts[1:], at)
        self._commands[head](parts[1:], at)
        return None

    def finished(self) -> Script:
        """Return all that was said."""
        inputs, outputs = (self._count(kind) for kind in "XY")
        common = [part for formula in self._asserted if len(formula) == 1 for part in formula[0]]
        cases = _all_of([formula for formula in self._asserted if len(formula) != 1], 0)
        cases.sort(key=lambda case: min((one.at for one in case), default=0))
        return Script(inputs, outputs, common, cases, self._places)

    def _advice(self, head: Part) -> str:
        if head == "vnnlib-version":
            return ": this is VNN-LIB 2; give the property in VNN-LIB 1.0"
        if head in ("not", "=>"):
            return ": write it with and, or and the opposite comparison"
        return ": a ')' is missing before it" if isinstance(head, str) and head in self._commands else ""

    def _count(self, kind: str) -> int:
        """Return how many variables of a kind are declared; they must be numbered from 0 on."""
        names = [name for name in self._places if name[0] == kind]
        noun = "input" if kind == "X" else "output"
        if not names:
            raise FaultError(0, f"expected at least one {noun}, (declare-const {kind}_0 Real), received none")
        for number in range(len(names)):
            if f"{kind}_{number}" not in self._places:
                last = max(names, key=lambda name: int(name[2:]))
                raise FaultError(
                    self._places[last], f"expected {noun}s numbered from 0 on, received {last} and no {kind}_{number}"
                )
        return len(names)

    def _declare(self, parts: Sequence[Part], at: int) -> None:
        words = [part if isinstance(part, str) else _noun(part) for part in parts]
        if len(words) == 3 and words[1] == _EMPTY:
            del words[1]
        if len(words) != 2 or not _NAME.fullmatch(words[0]) or words[1] != "Real":
            given = shown(" ".join(words))
            raise FaultError(at, f"expected an input X_i or an output Y_j and the type Real, received {given}")
        if words[0] in self._places:
            raise FaultError(at, f"{words[0]} is declared twice: remove one declaration")
        self._places[words[0]] = at

    def _assert(self, parts: Sequence[Part], at: int) -> None:
        if len(parts) != 1 or not isinstance(parts[0], list):
            raise FaultError(at, f"expected one comparison, (and ...) or (or ...) in assert, received {_nouns(parts)}")
        self._asserted.append(parts[0])

    def _joined(self, head: str, parts: Sequence[Part], at: int) -> Formula:
        formulas = [part for part in parts if isinstance(part, list)]
        if len(formulas) != len(parts):
            raise FaultError(at, f"expected comparisons, (and ...) or (or ...) in {head}, received {_nouns(parts)}")
        return _all_of(formulas, at) if head == "and" else _one_of(formulas, at)

    def _comparison(self, head: str, parts: Sequence[Part], at: int) -> Formula:
        if len(parts) < 2:
            raise FaultError(at, f"expected two terms to compare by {head}, received {len(parts)}")
        terms = [self._linear(part, at) for part in parts]
        made = []
        for left, right in pairwise(terms):
            if head != ">" and head != ">=":
                made.append(_compared(left, right, head == "<", at))
            if head != "<" and head != "<=":
                made.append(_compared(right, left, head == ">", at))
        return _decided(made)

    def _sum(self, head: str, parts: Sequence[Part], at: int) -> Linear:
        terms = [self._linear(part, at) for part in parts]
        if not terms:
            raise FaultError(at, f"expected terms after {head}, received none")
        if head == "-":
            first = terms.pop(0) if len(terms) > 1 else {}
            return _added([first, _times(_added(terms), Fraction(-1), at)])
        return _added(terms)

    def _product(self, head: str, parts: Sequence[Part], at: int) -> Linear:
        terms = [self._linear(part, at) for part in parts]
        if len(terms) < 2:
            raise FaultError(at, f"expected two factors or more after {head}, received {len(terms)}")
        made = terms[0]
        for term in terms[1:]:
            made, factor = (term, made) if head == "*" and not _is_constant(term) else (made, term)
            if not _is_constant(factor):
                what = "a product of variables" if head == "*" else "a division by a variable"
                raise FaultError(at, f"expected a linear term, received {what}: only linear constraints can be proved")
            value = factor.get("", _ZERO)
            if head == "/" and not value:
                raise FaultError(at, "expected a divisor that is not 0, received 0")
            made = _times(made, 1 / value if head == "/" else value, at)
        return made

    def _linear(self, part: Part, at: int) -> Linear:
        """Return a part as a linear term."""
        if isinstance(part, dict):
            return part
        if isinstance(part, list):
            raise FaultError(at, "expected a number, a variable or a sum, received a comparison")
        if part in self._places:
            return {part: _ONE}
        if _NAME.fullmatch(part):
            raise FaultError(at, f"{part} is not declared: add (declare-const {part} Real) above")
        return {"": _number(part, at)}


def _number(text: str, at: int) -> Fraction:
    """Return the number that a text says, exactly."""
    if _UNREAL.fullmatch(text):
        raise FaultError(at, f"expected a finite number, received {shown(text)}")
    found = _NUMBER.fullmatch(text)
    if not found:
        raise FaultError(at, f"expected a number, X_i or Y_j, received {shown(text)}")
    if len(text) > MAX_DIGITS or abs(int(found[1] or 0)) > MAX_EXPONENT:
        raise FaultError(
            at, f"expected at most {MAX_DIGITS} digits and {MAX_EXPONENT} as exponent, received {shown(text)}"
        )
    return Fraction(text)


def _compared(left: Linear, right: Linear, strict: bool, at: int) -> Comparison:
    """Return left <= right, or left < right."""
    difference = dict(left)
    for name, value in right.items():
        difference[name] = difference[name] - value if name in difference else -value
    limit = -difference.pop("", _ZERO)
    named = {name: value for name, value in difference.items() if value}
    kinds = {name[0] for name in named}
    if len(kinds) > 1:
        raise FaultError(
            at, "expected a comparison of inputs or of outputs, received one of both: it cannot be proved here"
        )
    return Comparison(
        "".join(kinds), {int(name[2:]): value for name, value in named.items()}, _checked(limit, at), strict, at
    )


def _decided(comparisons: list[Comparison]) -> Formula:
    """Return a conjunction without the comparisons that hold anyhow; none if one never holds."""
    if any(not one.kind and not one.is_true for one in comparisons):
        return []
    return [[one for one in comparisons if one.kind]]


def _all_of(formulas: Sequence[Formula], at: int) -> Formula:
    common = _merged([formula[0] for formula in formulas if len(formula) == 1])
    several = [formula for formula in formulas if len(formula) != 1]
    count = math.prod(map(len, several))
    longest = len(common) + sum(max(map(len, formula), default=0) for formula in several)
    if count > MAX_CASES or (several and count * longest > MAX_PARTS):
        raise FaultError(
            at,
            f"expected at most {MAX_CASES} cases of {MAX_PARTS} comparisons, received {count} of up to "
            f"{count * longest}: split the property into several files",
        )
    made = [common]
    for formula in several:
        made = [[*one, *other] for one in made for other in formula]
    return made


def _one_of(formulas: Sequence[Formula], at: int) -> Formula:
    made = _merged(formulas)
    if len(made) > MAX_CASES:
        raise FaultError(
            at, f"expected at most {MAX_CASES} cases, received {len(made)}: split the property into several files"
        )
    return made


def _merged(parts: Sequence[list[_T]]) -> list[_T]:
    """Return all parts in one list: the longest, the others behind it, so that nesting costs no copies."""
    longest = max(range(len(parts)), key=lambda index: len(parts[index]), default=0)
    made = parts[longest] if parts else []
    for index, part in enumerate(parts):
        if index != longest:
            made.extend(part)
    return made


def _added(terms: Sequence[Linear]) -> Linear:
    """Return the sum, in place of the longest term."""
    made = max(terms, key=len)
    for term in terms:
        if term is not made:
            for name, value in term.items():
                made[name] = made.get(name, _ZERO) + value
    return made


def _times(term: Linear, factor: Fraction, at: int) -> Linear:
    return {name: _checked(value * factor, at) for name, value in term.items()}


def _is_constant(term: Linear) -> bool:
    return not any(name and value for name, value in term.items())


def _checked(value: Fraction, at: int) -> Fraction:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > MAX_BITS:
        raise FaultError(at, f"expected numbers of at most {MAX_BITS} bits, received one that arithmetic made longer")
    return value


def _noun(part: Part) -> str:
    if isinstance(part, str):
        return shown(part)
    return "a term" if isinstance(part, dict) else "a comparison"


def _nouns(parts: Sequence[Part]) -> str:
    return ", ".join(_noun(part) for part in parts[:3]) + (", ..." if len(parts) > 3 else "") or "nothing"
