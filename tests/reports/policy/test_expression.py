"""The language of requirements: exact numbers, errors that say where it ends to be one, a round trip."""

from __future__ import annotations

from contextlib import suppress
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xai.reports.policy.expression import (
    Demand,
    ExpressionError,
    Metric,
    read_demand,
    read_metric,
    read_number,
)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0.95", Fraction(19, 20)),
        ("95 %", Fraction(19, 20)),
        ("95%", Fraction(19, 20)),
        ("1/255", Fraction(1, 255)),
        (" 2 / 510 ", Fraction(1, 255)),
        ("1e-3", Fraction(1, 1000)),
        (".5", Fraction(1, 2)),
        ("-3", Fraction(-3)),
    ],
)
def test_numbers_are_read_exactly(text: str, number: Fraction) -> None:
    assert read_number(text) == number


@pytest.mark.parametrize("text", ["", "x", "1/0", "1//2", "0x1", "nan", "inf", "1e999999999", "9" * 5000, "٣", "1_000"])
def test_what_is_no_number_is_refused_at_once(text: str) -> None:
    with pytest.raises(ExpressionError):
        read_number(text)


@pytest.mark.parametrize(
    ("text", "demand"),
    [
        (
            "accuracy >= 0.95 with 95 % confidence",
            Demand(Metric("accuracy"), ">=", Fraction(19, 20), "0.95", Fraction(19, 20)),
        ),
        (
            "certified_accuracy(linf, 1/255)≥80%",
            Demand(Metric("certified_accuracy", ("linf", "1/255")), ">=", Fraction(4, 5), "80%"),
        ),
        ("ece<=.05", Demand(Metric("ece"), "<=", Fraction(1, 20), ".05")),
        ("seconds.each < 2 as measured", Demand(Metric("seconds.each"), "<", Fraction(2), "2", as_measured=True)),
        ("value(run, 'same twice') == true", Demand(Metric("value", ("run", "same twice")), "==", True, "true")),
        ("value(a.b-c, x) == 'two words'", Demand(Metric("value", ("a.b-c", "x")), "==", "two words", "'two words'")),
        ("verified('never 80')", Demand(Metric("verified", ("never 80",)), "", True, "")),
        ("value(a, x) == 'true'", Demand(Metric("value", ("a", "x")), "==", "true", "'true'")),
    ],
)
def test_a_requirement_says_what_it_says(text: str, demand: Demand) -> None:
    assert read_demand(text) == demand


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "expected a metric's name, received the end"),
        ("accuracy", "after 'accuracy', received the end"),
        ("verified('never 80') holds", "expected a comparison"),
        ("accuracy => 1", "expected a comparison (>=, <=, >, < or ==) after 'accuracy', received '=> 1'"),
        ("accuracy >= high", "expected a number such as 0.95, 95 % or 1/255 after 'accuracy >=', received 'high'"),
        ("accuracy >= 0.9.5", "received '0.9.5'"),
        ("accuracy >= 0.9 0.8", "expected the end after 'accuracy >= 0.9', received '0.8'"),
        ("corruption(jpeg 3) >= 1", "expected ',' or ')' after 'corruption(jpeg', received '3) >= 1'"),
        ("corruption() >= 1", "expected an argument"),
        ("accuracy >= 0.9 with 95 %", "expected 'confidence'"),
        ("accuracy >= 0.9 with 50 % confidence", "above 50 % and below 100 %, received '50 %'"),
        ("accuracy >= 0.9 with 100 % confidence", "above 50 % and below 100 %"),
        ("accuracy >= 0.9 as seen", "expected 'measured'"),
        ("accuracy ~ 0.9", "received '~ 0.9'"),
        ("a" * 501, "at most 500 letters"),
    ],
)
def test_what_is_no_requirement_is_told_with_its_place(text: str, told: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        read_demand(text)
    assert told in str(caught.value)


def test_a_metric_alone_is_read() -> None:
    assert read_metric("ood.auroc(noise)") == Metric("ood.auroc", ("noise",))
    with pytest.raises(ExpressionError, match="expected the end"):
        read_metric("accuracy >= 1")


names = st.from_regex(r"[a-z_][a-z0-9_]{0,8}(\.[a-z]{1,5})?", fullmatch=True)
arguments = st.one_of(names, st.just("1/255"), st.text("abc ()>,'", min_size=1, max_size=6))
sure = st.none() | st.sampled_from([Fraction(9, 10), Fraction(19, 20), Fraction(999, 1000)])


@given(names, st.lists(arguments, max_size=3), st.sampled_from([">=", "<=", ">", "<", "=="]), sure, st.booleans())
def test_a_requirement_is_read_as_it_is_written(
    name: str, given_: list[str], comparison: str, confidence: Fraction | None, plain: bool
) -> None:
    metric = Metric(name, tuple(given_))
    demand = Demand(metric, comparison, Fraction(1, 20), "5 %", None if plain else confidence, as_measured=plain)
    assert read_demand(str(demand)) == demand


@pytest.mark.parametrize("name", ["it holds", "it's", "2/255", "short", "never 80, near stop.png"])
def test_a_statement_is_read_as_it_is_written(name: str) -> None:
    demand = read_demand(f'verified("{name}")')
    assert demand.metric.arguments == (name,)
    assert read_demand(str(demand)) == demand
    assert [demand.met_by(said) for said in (True, False, 1.0)] == [True, False, False]


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(ExpressionError):
        assert read_demand(str(read_demand(text))) == read_demand(text)


@pytest.mark.parametrize(("count", "total"), [(19, 20), (57, 60), (1, 3), (7, 10)])
def test_a_share_that_is_the_threshold_meets_it(count: int, total: int) -> None:
    demand = Demand(Metric("accuracy"), ">=", Fraction(count, total), "")
    assert demand.met_by(count / total)
    assert not demand.met_by(count / total - 1e-12)
