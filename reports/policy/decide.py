"""Whether a demand holds, is violated, or is not decided: intervals decide, never the point alone.

What "with 95 % confidence" means: whatever the truth, "holds" is wrong with a probability of at most 5 %, and so is
"violated". A demand is about one side of its threshold, so each verdict rests on a one-sided end: of 59 right answers
out of 59 the lower one is 0.950. Shares are counts, and their ends those of Clopper and Pearson; any other value has
the interval that was recorded, a two-sided one of 95 %, each end of which is right by itself with 97.5 %.

That all of several demands hold is wrong with at most that probability too, since it is if one is (an
intersection-union test): no correction is needed. Where the least of several groups decides, "holds" needs none
either, and the end that "violated" rests on is corrected for their number (Bonferroni).

A value that is a bound from below, such as a share that is proved, is never "violated" by itself: what is not proved
may still be so. Its upper end is that of values which the truth is at most: what attacks left, or the right answers
without any change.

Beyond that "holds" needs a value that itself meets the demand, and no measure that speaks against its finding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from xai.reports.intervals import CONFIDENCE, clopper_pearson, one_sided, trials_to_decide
from xai.reports.policy.expression import Demand, percent
from xai.reports.policy.metrics import Resolved, Source, resolve
from xai.reports.records import Finding, Scalar, Value, Verdict
from xai.reports.words import amount

DEFAULT = Fraction(19, 20)
HEURISTIC, SEARCHED = "heuristic", "The evidence is a heuristic's: it is no proof."
RECORDED = (1 + CONFIDENCE) / 2  # of one end of a recorded interval by itself


@dataclass(frozen=True)
class Decision:
    """What became of a demand.

    Args:
        verdict: holds, violated or not decided.
        sentence: in words.
        reason: why it is not decided, "" where it is.
        estimate: what was measured.
        interval: the two one-sided ends that decide.
        n: how many things it was measured on.
        needed: about how many would decide it.
        sources: where it was found.
    """

    verdict: Verdict
    sentence: str
    reason: str = ""
    estimate: Scalar = None
    interval: tuple[float, float] | None = None
    n: int | None = None
    needed: int | None = None
    sources: tuple[Source, ...] = ()


@dataclass(frozen=True)
class _Known:
    """What is known of a number.

    Args:
        estimate: what was measured.
        low: the end below that decides.
        high: the end above; infinite where nothing is known.
        n: how many things it was measured on.
        share: whether it counts some of them.
        above: what was measured of the most that it can be, where the estimate is but a bound from below.
        each: what is known of each of several, where the least of them is meant.
    """

    estimate: float
    low: float
    high: float
    n: int | None = None
    share: bool = False
    above: float | None = None
    each: tuple[_Known, ...] = ()


class _UnknownError(Exception):
    """A value that decides nothing, with the reason."""


def decide(demand: Demand, findings: Sequence[Finding]) -> Decision:
    """Return whether findings are as demanded.

    Args:
        demand: with its confidence; without one it is 95 %.
        findings: of the run.
    """
    demand = demand.surely(DEFAULT)
    found = resolve(demand.metric, findings)
    if found.reason:
        return _open(demand, found, found.reason)
    if found.how == "verdict":
        return _guarded(_stated(demand, found.sources[0]))
    try:
        if found.how == "one" and not _is_number(found.sources[0].value.value):
            return _exactly(demand, found)
        return _guarded(_compared(demand, found, _known(demand, found)))
    except _UnknownError as unknown:
        return _open(demand, found, str(unknown))


def _stated(demand: Demand, source: Source) -> Decision:
    """Take over a finding's verdict: it is about every input that a statement names, and no sample of them."""
    finding = source.finding
    by = finding.values["decided by"].value
    if finding.verdict == "holds":
        return Decision("holds", f"{demand.metric} holds: it is proved, by {by}.", sources=(source,))
    if finding.verdict == "violated":
        said = f"{demand.metric} is violated: an input beyond its limits was found, by {by}."
        return Decision("violated", said, sources=(source,))
    told = finding.values.get("reason")
    reason = str(told.value) if told else "it was neither proved, nor was an input found that violates it"
    return _open(demand, Resolved((source,)), reason)


def _is_number(value: Scalar) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _exactly(demand: Demand, found: Resolved) -> Decision:
    """Decide about a truth value or a word, which is as it is."""
    value = found.sources[0].value
    if value.value is None:
        raise _UnknownError(_unmeasured(value))
    assert isinstance(value.value, bool | str)
    if isinstance(demand.threshold, Fraction):
        raise _UnknownError(f"it is {value.value!r}, which is no number")
    verdict: Verdict = "holds" if demand.met_by(value.value) else "violated"
    shown = str(value.value).lower() if isinstance(value.value, bool) else f"“{value.value}”"
    made = Decision(verdict, f"{demand.metric} is {shown}.", estimate=value.value, n=value.n, sources=found.sources)
    return _guarded(made)


def _known(demand: Demand, found: Resolved) -> _Known:
    """Return what is known of the number that is compared."""
    if not isinstance(demand.threshold, Fraction):
        raise _UnknownError(f"it is a number, and {demand.written} is none")
    sure = float(demand.confidence or DEFAULT)
    if found.how == "share for":
        return _spoken_for(demand, found, sure)
    if found.how == "one":
        return _topped(demand, found, _one(demand, found.sources[0].value, sure), sure)
    several = [_one(demand, source.value, sure) for source in found.sources]
    apart = 1 - (1 - sure) / len(several)
    highs = [_one(demand, source.value, apart).high for source in found.sources]
    least = min(several, key=lambda one: (one.estimate, one.n or 0))
    return replace(least, low=min(one.low for one in several), high=min(highs), each=tuple(several))


def _topped(demand: Demand, found: Resolved, known: _Known, sure: float) -> _Known:
    """Return what is known of a bound from below, with the least of the values that the truth is at most."""
    if known.above is None or not found.above:
        return known
    apart = 1 - (1 - sure) / len(found.above)
    tops = [_one(demand, source.value, apart) for source in found.above]
    return replace(known, high=min(top.high for top in tops), above=min(top.estimate for top in tops))


def _one(demand: Demand, value: Value, sure: float) -> _Known:
    """Return what is known of one value at a confidence; of a bound from below nothing above it."""
    known = _estimated(demand, value, sure)
    if value.bound != "least":
        return known
    most = math.inf if counted(value) is None else 1.0
    return replace(known, high=most, above=most)


def _estimated(demand: Demand, value: Value, sure: float) -> _Known:
    """Return what is known of one value, as if it were an estimate of the truth."""
    number = value.value
    if number is None:
        raise _UnknownError(_unmeasured(value))
    if isinstance(number, bool | str):
        raise _UnknownError(f"it is {number!r}, which is no number")
    if demand.as_measured:
        return _Known(float(number), float(number), float(number), value.n)
    if (count := counted(value)) is not None and value.n:
        low, high = one_sided(count, value.n, sure)
        return _Known(float(number), low, high, value.n, share=True)
    if value.interval is None:
        if isinstance(number, int):  # counted, not estimated
            return _Known(float(number), float(number), float(number), value.n)
        raise _UnknownError(
            "it has no interval, so it is not known how far it can be trusted; end the requirement with “as measured” "
            "if the number itself is meant"
        )
    if sure > RECORDED + 1e-12:
        raise _UnknownError(f"its interval is known at 95 % only, which tells nothing with {percent(_exact(sure))}")
    low, high = sorted(value.interval)
    return _Known(float(number), min(low, float(number)), max(high, float(number)), value.n)


def _unmeasured(value: Value) -> str:
    return f"it could not be measured{f': {value.reason}' if value.reason else ''}"


def counted(value: Value) -> int | None:
    """Return how many successes a share stands for; None if it is no share, or its interval is not that of counts."""
    number, total = value.value, value.n
    if isinstance(number, bool) or not isinstance(number, int | float) or not total or value.interval is None:
        return None
    count = round(number * total)
    if not 0 <= count <= total or abs(number * total - count) > 1e-6:
        return None
    exact = clopper_pearson(count, total)
    near = all(math.isclose(one, other, abs_tol=1e-9) for one, other in zip(value.interval, exact, strict=True))
    return count if near else None


def _spoken_for(demand: Demand, found: Resolved, sure: float) -> _Known:
    """Return the share of findings that a measure speaks for; what was skipped may be either."""
    good = sum(source.value.value == "for" for source in found.sources)
    unknown = len(found.lost)
    total = len(found.sources) + unknown
    if demand.as_measured:
        return _Known(good / total, good / total, (good + unknown) / total, total)
    low = one_sided(good, total, sure)[0]
    high = one_sided(good + unknown, total, sure)[1]
    return _Known(good / total, low, high, total, share=not unknown)


def _compared(demand: Demand, found: Resolved, known: _Known) -> Decision:
    """Compare ends and estimate with the threshold."""
    assert isinstance(demand.threshold, Fraction)
    inside = [demand.met_by(end) for end in (known.low, known.high)]
    verdict: Verdict = "not decided"
    if all(inside) and demand.met_by(known.estimate):
        verdict = "holds"
    elif not any(inside) and not demand.met_by(known.estimate) and not _between(demand, known):
        verdict = "violated"
    needed = _needed(demand, known) if verdict == "not decided" else None
    reason = "" if verdict != "not decided" else _why(demand, found, known, needed)
    proved = verdict == "holds" and demand.upward  # what lies above it has no part in that
    return Decision(
        verdict,
        f"{_measured(demand, known)}{f' {reason}' if reason else ''}",
        reason=reason,
        estimate=known.estimate,
        interval=(known.low, known.high) if math.isfinite(known.high) else None,
        n=known.n,
        needed=needed,
        sources=found.sources if proved else found.sources + found.above,
    )


def _needed(demand: Demand, known: _Known) -> int | None:
    """Return about how many would decide; None where the truth may lie on either side however many there are."""
    assert isinstance(demand.threshold, Fraction)
    if known.each:
        return _needed_of_each(demand, known.each)
    at = float(demand.threshold)
    ends = (known.estimate, known.estimate if known.above is None else known.above)
    if not known.share or len({demand.met_by(end) for end in ends}) > 1:
        return None
    return trials_to_decide(min(ends, key=lambda end: abs(end - at)), at, float(demand.confidence or DEFAULT))


def _needed_of_each(demand: Demand, each: Sequence[_Known]) -> int | None:
    """Return about how many of each would decide: the first that fails, or all, if none does."""
    failing = [one for one in each if not demand.met_by(one.estimate)]
    unsure = [one for one in each if not (demand.met_by(one.low) and demand.met_by(one.high))]
    needed = [_needed(demand, one) for one in failing or unsure]
    known = [one for one in needed if one is not None]
    if not known or len(known) < len(needed):
        return None
    return min(known) if failing else max(known)


def _between(demand: Demand, known: _Known) -> bool:
    """Say whether an interval holds the very number that is demanded."""
    assert isinstance(demand.threshold, Fraction)
    return demand.comparison == "==" and known.low <= float(demand.threshold) <= known.high


def _why(demand: Demand, found: Resolved, known: _Known, needed: int | None) -> str:
    lost = ""
    if found.lost:
        first = found.lost[0]
        lost = f"{len(found.lost)} of {len(found.lost) + len(found.sources)} have no say: {first.title}"
        lost = f"{lost} was {first.status}: {first.reason}. " if first.status != "ok" else f"{lost} is one of them. "
    if needed:
        return f"{lost}About {amount(needed)} {'of each ' if known.each else ''}like these would decide it."
    if known.above is not None and demand.met_by(known.estimate) != demand.met_by(known.above):
        return (
            f"{demand.written} lies between what was shown to hold and what was shown not to; between them nothing is "
            "known. More images do not decide it: a tighter method may, or a stronger attack."
        )
    return f"{lost}The interval does not lie on one side of {demand.written}."


def _guarded(decision: Decision) -> Decision:
    """Take back that something holds where a measure speaks against the finding that says so."""
    against = [
        trust
        for source in decision.sources
        if source.trust is None
        for trust in source.finding.trust
        if trust.status == "ok" and trust.speaks == "against"
    ]
    if decision.verdict != "holds":
        return decision
    if not against:
        tried = any(source.finding.kind == HEURISTIC for source in decision.sources if source.trust is None)
        return replace(decision, sentence=f"{decision.sentence} {SEARCHED}") if tried else decision
    reason = f"The figure would do, but {against[0].title} speaks against it: {against[0].sentence}"
    return replace(decision, verdict="not decided", sentence=f"{decision.sentence} {reason}", reason=reason)


def _measured(demand: Demand, known: _Known) -> str:
    """Say what was measured, and between which ends it is known to be."""
    on = f" on {amount(known.n)}" if known.n is not None else ""
    write = _share if "%" in demand.written or known.share else _plain
    shown = write(known.estimate) if known.above is None else _both(known, write)
    if demand.as_measured or known.low == known.high:
        return f"{demand.metric} is {shown}{on}{', as measured' if demand.as_measured else ''}."
    sure = percent(demand.confidence or DEFAULT)
    most = f", and at most {write(known.high)}, each" if math.isfinite(known.high) else ""
    return f"{demand.metric} is {shown}{on}; at least {write(known.low)}{most} with {sure} confidence."


def _both(known: _Known, write: Callable[[float], str]) -> str:
    """Write a bound from below, and what lies above it where anything is known."""
    assert known.above is not None
    least = f"at least {write(known.estimate)}"
    trivial = known.above == math.inf or (known.above == 1.0 and known.high == 1.0)
    return least if trivial else f"{least} and at most {write(known.above)}"


def _share(value: float) -> str:
    """Write a share with two digits after the point, never as certainty that it is not."""
    text = f"{100 * value:.2f}"
    if text == "100.00" and value < 1:
        return "> 99.99\N{NO-BREAK SPACE}%"
    return "< 0.01\N{NO-BREAK SPACE}%" if text == "0.00" and value > 0 else f"{text}\N{NO-BREAK SPACE}%"


def _plain(value: float) -> str:
    return f"{value:.6g}"


def _exact(sure: float) -> Fraction:
    return Fraction(sure).limit_denominator(10**6)


def _open(demand: Demand, found: Resolved, reason: str) -> Decision:
    return Decision("not decided", f"{demand.metric} is not known: {reason}.", reason=reason, sources=found.sources)
