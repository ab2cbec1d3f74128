"""The language of requirements: `certified_accuracy(linf, 1/255) >= 80 % with 95 % confidence`.

    requirement  metric comparison threshold [with NUMBER confidence | as measured], or a statement: verified('NAME')
    metric       NAME, or NAME(ARGUMENT, ...); a name may have dots
    comparison   >=  <=  >  <  ==
    threshold    a number (0.95, 95 %, 1/255), true, false, or a word after ==

Numbers are read exactly, as fractions: 95 % is 19/20, and 2/510 is the size 1/255.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TypeVar

T = TypeVar("T")
LONGEST = 500
STATEMENTS = ("verified",)  # metrics that hold or do not: they stand alone
TRUTHS = {"true": True, "false": False}
_NUMBER = r"[+-]?(?:[0-9]{1,15}(?:\.[0-9]{0,15})?|\.[0-9]{1,15})(?:[eE][+-]?[0-9]{1,2})?"
_EXACT = re.compile(rf"({_NUMBER})(?:\s*/\s*({_NUMBER}))?(\s*%)?", re.ASCII)
_TOKEN = re.compile(
    rf"(?P<number>{_NUMBER}(?:\s*/\s*{_NUMBER})?(?:\s*%)?)(?![\w.])"
    r"|(?P<comparison>>=|<=|==|≥|≤|>|<)"
    r"|(?P<name>[^\W\d][\w.-]*)"
    r"|(?P<quoted>'[^'\n]*'|\"[^\"\n]*\")"
    r"|(?P<sign>[(),])"
)
_ORDER: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
    "==": operator.eq,
}
_SAME = {"≥": ">=", "≤": "<="}
_NAME = re.compile(r"[^\W\d][\w.-]*")


class ExpressionError(ValueError):
    """An expression that is none; says what was expected and what was received."""


@dataclass(frozen=True)
class Metric:
    """What is measured.

    Args:
        name: of the metric.
        arguments: that choose one of several, as they were written.
    """

    name: str
    arguments: tuple[str, ...] = ()

    def __str__(self) -> str:
        shown = ", ".join(_shown(argument) for argument in self.arguments)
        return f"{self.name}({shown})" if shown else self.name


@dataclass(frozen=True)
class Demand:
    """What a metric must be.

    Args:
        metric: that is measured.
        comparison: >=, <=, >, < or ==; "" of a statement that stands alone.
        threshold: a number as a fraction, a truth value or a word.
        written: the threshold as it was written.
        confidence: with which it must be known, above a half and below 1; None where nothing was said of it.
        as_measured: whether the measured number itself decides, and nothing is said beyond what was measured.
    """

    metric: Metric
    comparison: str
    threshold: Fraction | bool | str
    written: str
    confidence: Fraction | None = None
    as_measured: bool = False

    def __str__(self) -> str:
        if not self.comparison:
            return str(self.metric)
        sure = f" with {percent(self.confidence)} confidence" if self.confidence else ""
        return f"{self.metric} {self.comparison} {self.written}{' as measured' if self.as_measured else sure}"

    def surely(self, confidence: Fraction) -> Demand:
        """Return the same with a confidence, where nothing was said of one; a word or truth value needs none."""
        plain = self.as_measured or not isinstance(self.threshold, Fraction)
        return self if self.confidence or plain else replace(self, confidence=confidence)

    def met_by(self, value: float | bool | str) -> bool:
        """Say whether a value, taken for the truth, is as demanded.

        Numbers are compared with the double next to the threshold: 19 of 20, which no double is exactly, are 95 %.
        """
        if isinstance(self.threshold, Fraction) and not isinstance(value, bool | str):
            return _ORDER[self.comparison](value, float(self.threshold))
        return type(value) is type(self.threshold) and value == self.threshold

    @property
    def upward(self) -> bool:
        """Whether more is better."""
        return self.comparison.startswith(">")


def percent(share: Fraction) -> str:
    """Write a share as a percentage, with as many digits as it has."""
    return f"{float(100 * share):.12g} %"


def read_number(text: str) -> Fraction:
    """Return the number that a text says, exactly: 0.95, 95 %, 1/255, 1e-3; raise ExpressionError if it is none."""
    found = _EXACT.fullmatch(text.strip())
    if not found:
        raise ExpressionError(f"expected a number such as 0.95, 95 % or 1/255, received {text[:60]!r}")
    below = Fraction(found[2]) if found[2] else Fraction(1)
    if not below:
        raise ExpressionError(f"{text[:60]!r} divides by zero")
    return Fraction(found[1]) / below / (100 if found[3] else 1)


def read_demand(text: str) -> Demand:
    """Return what a requirement's text says; raise ExpressionError that says where it ends to be one."""
    reader = _Reader(text)
    metric = reader.metric()
    if metric.name in STATEMENTS and not reader.peek()[0]:
        return Demand(metric, "", True, "")
    comparison = reader.take("comparison", "a comparison (>=, <=, >, < or ==)")
    return reader.finished(reader.threshold(metric, _SAME.get(comparison, comparison)))


def read_metric(text: str) -> Metric:
    """Return the metric that a text names; raise ExpressionError if there is more, or less."""
    reader = _Reader(text)
    return reader.finished(reader.metric())


def read_bound(metric: Metric, text: str) -> Demand:
    """Return the demand of a metric and a comparison with a threshold: `>= 0.95`."""
    reader = _Reader(text)
    comparison = reader.take("comparison", "a comparison (>=, <=, >, < or ==)")
    return reader.finished(reader.threshold(metric, _SAME.get(comparison, comparison)))


class _Reader:
    """Reads a text part by part."""

    def __init__(self, text: str) -> None:
        if len(text) > LONGEST:
            raise ExpressionError(f"expected at most {LONGEST} letters, received {len(text)}")
        self._text, self._at = text.rstrip(), 0

    def peek(self) -> tuple[str, str]:
        """Return kind and text of the next part, "" at the end."""
        self._at += len(self._text[self._at :]) - len(self._text[self._at :].lstrip())
        found = _TOKEN.match(self._text, self._at)
        if found is None:
            return ("", "") if self._at == len(self._text) else ("unreadable", self._text[self._at :])
        return str(found.lastgroup), found[0]

    def take(self, kind: str, expected: str, only: str = "") -> str:
        """Return the next part, which must be of that kind."""
        found, text = self.peek()
        if found != kind or (only and text != only):
            rest = self._text[self._at :][:40]
            ended = "the end; YAML ends a text at a comma within [ ] or { }: put it in quotes there"
            raise ExpressionError(
                f"expected {expected}{f' after {self._text[: self._at].strip()!r}' if self._at else ''}, "
                f"received {repr(rest) if rest else ended if kind == 'sign' else 'the end'}"
            )
        self._at += len(text)
        return text

    def sees(self, text: str) -> bool:
        """Take the next part if it is that."""
        found = self.peek()[1] == text
        self._at += len(text) if found else 0
        return found

    def metric(self) -> Metric:
        name = self.take("name", "a metric's name")
        if not self.sees("("):
            return Metric(name)
        arguments = [self._argument()]
        while self.sees(","):
            arguments.append(self._argument())
        self.take("sign", "',' or ')'", ")")
        return Metric(name, tuple(arguments))

    def _argument(self) -> str:
        kind, text = self.peek()
        if kind not in ("number", "name", "quoted"):
            return self.take("name", "an argument: a name, a number or a text in quotes")
        self._at += len(text)
        return text[1:-1] if kind == "quoted" else text

    def threshold(self, metric: Metric, comparison: str) -> Demand:
        kind, text = self.peek()
        if kind in ("name", "quoted") and comparison == "==":
            self._at += len(text)
            word = text[1:-1] if kind == "quoted" else text
            return self._sure(Demand(metric, comparison, TRUTHS.get(text, word), text))
        text = self.take("number", "a number such as 0.95, 95 % or 1/255")
        return self._sure(Demand(metric, comparison, read_number(text), text))

    def _sure(self, demand: Demand) -> Demand:
        if self.sees("as"):
            self.take("name", "'measured'", "measured")
            return replace(demand, as_measured=True)
        if not self.sees("with"):
            return demand
        confidence = read_confidence(self.take("number", "a confidence such as 95 %"))
        self.take("name", "'confidence'", "confidence")
        return replace(demand, confidence=confidence)

    def finished(self, made: T) -> T:
        """Return what was read, if nothing stands behind it."""
        if self.peek()[0]:
            raise ExpressionError(
                f"expected the end after {self._text[: self._at].strip()!r}, received {self._text[self._at :][:40]!r}"
            )
        return made


def read_confidence(text: str) -> Fraction:
    """Return a confidence, above a half and below 1; raise ExpressionError if it is none."""
    confidence = read_number(text)
    if not Fraction(1, 2) < confidence < 1:
        raise ExpressionError(f"expected a confidence above 50 % and below 100 %, received {text.strip()!r}")
    return confidence


def _shown(argument: str) -> str:
    plain = _NAME.fullmatch(argument) or _EXACT.fullmatch(argument)
    return argument if plain else f'"{argument}"' if "'" in argument else f"'{argument}'"
