"""From a metric to the values of findings that answer it: a table of short names, and two general forms.

    accuracy                    worst_group_accuracy        robust_accuracy(standard, 2/255)
    certified_accuracy(1/255)   verified_accuracy(1/255)    corruption(NAME, 3)
    verified('PROPERTY')        FAMILY.VALUE(...)           value(FINDING, 'VALUE')

A metric that no finding answers, or more than one, is not resolved, and says why: nothing is taken instead.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal, NamedTuple

from xai.reports.intervals import clopper_pearson
from xai.reports.policy.expression import STATEMENTS, ExpressionError, Metric, read_number
from xai.reports.records import Finding, Scalar, Trust, Value

NORMS = ("linf", "l2", "l1")
GIVEN = "given"  # what a finding's parameter "labels" says where no answer of the model's own was taken for right
MEASURED_ON = ("performance", "robustness", "bounds")  # families that tell accuracy, the first that is there
ATTACKED = {  # what attacks left, by family
    "robustness": "robust accuracy",
    "bounds": "accuracy under attack",
    "verification": "accuracy under attack",
}
OWN_PLAN = "the user's own"  # what a finding's parameter "plan" says of attacks that were named one by one
VERDICT = "verdict"  # what evidence is called that is no value, but what a finding came to
CALLED = {"ood": "ood-set"}  # families by the name that requirements use
PREPOSITIONS = ("on", "at", "of", "for")

Better = Literal["more", "less", ""]
How = Literal["one", "least", "share for", "verdict"]


class Source(NamedTuple):
    """One value of one finding.

    Args:
        finding: that gives it.
        name: of the value.
        value: as it was measured.
        trust: the measure that gives it, if it is not the finding itself.
    """

    finding: Finding
    name: str
    value: Value
    trust: Trust | None = None


@dataclass(frozen=True)
class Resolved:
    """What answers a metric.

    Args:
        sources: the values.
        how: whether it is one value, the least of several, the share of findings that a measure speaks for, or the
            verdict of a finding.
        reason: why there is no answer, "" if there is.
        lost: findings that should have had a say and could not, where a share is asked for.
        above: values that the truth is at most, where the one found is at most the truth.
    """

    sources: tuple[Source, ...] = ()
    how: How = "one"
    reason: str = ""
    lost: tuple[Finding, ...] = ()
    above: tuple[Source, ...] = ()


Answer = Callable[[tuple[str, ...], Sequence[Finding]], Resolved]


class Short(NamedTuple):
    """A short name for a value that many ask for.

    Args:
        usage: how it is written.
        better: whether more or less of it is better.
        check: raises ExpressionError for arguments that do not fit.
        answer: finds it.
    """

    usage: str
    better: Better
    check: Callable[[tuple[str, ...]], object]
    answer: Answer


def check(metric: Metric) -> None:
    """Raise ExpressionError for a metric that is not known, or has arguments that do not fit."""
    short = SHORT.get(metric.name)
    if short is not None:
        try:
            short.check(metric.arguments)
        except ExpressionError as error:
            raise ExpressionError(f"{metric}: expected {short.usage}: {error}") from None
    elif metric.name == "value":
        _general(metric.arguments)
    elif metric.name.count(".") != 1 or metric.name.endswith("."):
        near = difflib.get_close_matches(metric.name, [*SHORT, "value"], n=2, cutoff=0.5)
        known = ", ".join(one.usage for one in SHORT.values())
        told = f"did you mean {' or '.join(map(repr, near))}?" if near else f"there are: {known}"
        raise ExpressionError(
            f"there is no metric {metric.name[:60]!r}; {told} Any other value is value(FINDING, 'NAME') or FAMILY.NAME"
        )


def check_threshold(metric: Metric, threshold: object) -> None:
    """Raise ExpressionError for a threshold that a metric can never be compared with: a share lies from 0 to 1."""
    if metric.name not in SHORT:
        return
    if metric.name in STATEMENTS:
        if threshold is not True:
            raise ExpressionError(f"{metric} holds or does not: expected it alone, received a threshold of {threshold}")
        return
    if not isinstance(threshold, Fraction):
        raise ExpressionError(f"{metric} is a share: expected a number, received {threshold!r}")
    if not 0 <= threshold <= 1:
        raise ExpressionError(
            f"{metric} is a share, from 0 to 1: received {float(threshold):g}; did you mean {float(threshold):g} %?"
        )


def better(metric: Metric) -> Better:
    """Return whether more or less of a metric is better, "" if that is not known."""
    return SHORT[metric.name].better if metric.name in SHORT else ""


def resolve(metric: Metric, findings: Sequence[Finding]) -> Resolved:
    """Return what in the findings answers a metric."""
    if metric.name in SHORT:
        return SHORT[metric.name].answer(metric.arguments, findings)
    if metric.name == "value":
        return _value(*_general(metric.arguments), findings)
    family, _, name = metric.name.partition(".")
    return _of_family(family, name, metric.arguments, findings)


# --- what the short names look for ---


def _accuracy(_: tuple[str, ...], findings: Sequence[Finding]) -> Resolved:
    return _labelled(_first(MEASURED_ON, findings), lambda name: name == "accuracy", "accuracy")


def _part(word: str) -> Answer:
    """Return what finds the accuracy of one class or group."""

    def answer(arguments: tuple[str, ...], findings: Sequence[Finding]) -> Resolved:
        wanted = f"accuracy of {word} {arguments[0]}"
        return _labelled(_first(MEASURED_ON, findings), lambda name: name == wanted, wanted)

    return answer


def _worst(word: str) -> Answer:
    """Return what finds the accuracy of all classes or groups: the least decides, and those named must be there."""

    def answer(arguments: tuple[str, ...], findings: Sequence[Finding]) -> Resolved:
        start = f"accuracy of {word} "
        found = _labelled(
            _first(MEASURED_ON, findings), lambda name: name.startswith(start), f"{start}...", several=True
        )
        missing = {start + name for name in arguments} - {source.name for source in found.sources}
        if missing and not found.reason:
            return Resolved(reason=f"the data hold no {', '.join(sorted(missing)).replace('accuracy of ', '')}")
        if arguments and not found.reason:
            kept = tuple(source for source in found.sources if source.name.removeprefix(start) in arguments)
            return Resolved(kept, "least")
        return found if found.reason else Resolved(found.sources, "least")

    return answer


def _sized(families: Sequence[str], word: str) -> Answer:
    """Return what finds a share at a size of the change; a norm and a plan may be named."""

    def answer(arguments: tuple[str, ...], findings: Sequence[Finding]) -> Resolved:
        size, norm, plan = _threat(arguments)
        candidates = _first(families, findings)
        wanted = {"norm": norm, "plan": plan}
        fitting = [finding for finding in candidates if _fits(finding, wanted)]
        if candidates and not fitting:
            had = ", ".join(
                f"{name} {finding.parameters.get(name)}" for finding in candidates for name in wanted if wanted[name]
            )
            return Resolved(reason=f"it was not measured so: the findings' are of {had}")
        return _labelled(fitting, lambda name: _is_at(name, word, size), f"{word} at {arguments[-1]}")

    return answer


def _attacked(arguments: tuple[str, ...], findings: Sequence[Finding]) -> Resolved:
    """Find what attacks leave at a size; of several sets of attacks that ran, each takes away, so the least decides."""
    size, norm, plan = _threat(arguments)
    found = _sized(("robustness",), "robust accuracy")
    candidates = [one for one in _first(("robustness",), findings) if _fits(one, {"norm": norm, "plan": plan})]
    norms = list(dict.fromkeys(str(one.parameters.get("norm")) for one in candidates if _has(one, size)))
    if len(norms) > 1:
        return Resolved(reason=f"that size was tried in the norms {' and '.join(norms)}: name one of them")
    asked = [one for one in candidates if _has(one, size) or one.status != "ok"]
    if plan or len(asked) < 2:
        return found(arguments, findings)
    each = [found(arguments, [one]) for one in asked]
    lost = next((one.reason for one in each if one.reason), "")
    return Resolved(reason=lost) if lost else Resolved(tuple(one.sources[0] for one in each), "least")


def _certified(arguments: tuple[str, ...], findings: Sequence[Finding]) -> Resolved:
    """Find what is proved at a size, and what attacks show to be the most that could be."""
    return _topped(_sized(("bounds",), "certified accuracy")(arguments, findings), arguments, findings)


def _verified(arguments: tuple[str, ...], findings: Sequence[Finding]) -> Resolved:
    """Find what a search proved at a size, and what counterexamples show to be the most that could be.

    A finding is about one size: those about others, failed ones too, say nothing of it.
    """
    size = _threat(arguments)[0]
    of_size = [one for one in findings if one.family == "verification" and _asked_at(one, size)]
    return _topped(_sized(("verification",), "verified accuracy")(arguments, of_size), arguments, findings)


def _topped(found: Resolved, arguments: tuple[str, ...], findings: Sequence[Finding]) -> Resolved:
    """Return a share that is proved with the values that the truth is at most: what attacks left in its norm."""
    if found.reason:
        return found
    size, norm = _threat(arguments)[0], found.sources[0].finding.parameters.get("norm")
    tried = [one for one in findings if one.family in ATTACKED and one.parameters.get("norm") == norm]
    left = tuple(filter(None, (_left(one, size) for one in tried if not _own_labels(one))))
    plain = _accuracy((), findings).sources
    return replace(found, above=left or plain)


def _smoothed(arguments: tuple[str, ...], findings: Sequence[Finding]) -> Resolved:
    """Find what draws certify at a size, and which answers are not known to be wrong."""
    found = _sized(("smoothing",), "certified accuracy")(arguments, findings)
    return found if found.reason else replace(found, above=_named(found.sources[0].finding, "not known to be wrong"))


def _stated(arguments: tuple[str, ...], findings: Sequence[Finding]) -> Resolved:
    """Find the verdict on a property, by the property's name."""
    held = [one for one in findings if one.family == "property"]
    named = [one for one in held if one.title == arguments[0]]
    sources = tuple(Source(one, VERDICT, Value(value=one.verdict)) for one in named if one.status == "ok")
    return replace(_single(sources, named or held, f"the property {arguments[0]!r}"), how="verdict")


def _left(finding: Finding, size: Fraction) -> Source | None:
    """Return what attacks of one finding left at a size, or at the largest smaller one; None without any.

    What an attack claims and is not confirmed took nothing away.
    """
    word = ATTACKED[finding.family]
    sizes = {name: at for name in finding.values if (at := _size_of(name, word)) is not None and at <= size}
    if finding.status != "ok" or not sizes:
        return None
    name = max(sizes, key=lambda one: sizes[one])
    lost = finding.values.get("not confirmed")
    return Source(finding, name, _with_more(finding.values[name], lost.value if lost else 0))


def _with_more(value: Value, more: Scalar) -> Value:
    """Return a share with more successes."""
    if not isinstance(more, int) or not more or not value.n or not isinstance(value.value, float):
        return value
    count = min(value.n, round(value.value * value.n) + more)
    return value.model_copy(update={"value": count / value.n, "interval": clopper_pearson(count, value.n)})


def _named(finding: Finding, name: str) -> tuple[Source, ...]:
    return (Source(finding, name, finding.values[name]),) if name in finding.values else ()


def _asked_at(finding: Finding, size: Fraction) -> bool:
    """Say whether a finding is about a size of the change, however it was written."""
    try:
        return read_number(str(finding.parameters.get("epsilons"))) == size
    except ExpressionError:
        return False


def _has(finding: Finding, size: Fraction) -> bool:
    return any(_is_at(name, ATTACKED["robustness"], size) for name in finding.values)


def _corruption(arguments: tuple[str, ...], findings: Sequence[Finding]) -> Resolved:
    name, severity = arguments
    if reason := next(filter(None, map(_own_labels, _first(MEASURED_ON, findings))), ""):
        return Resolved(reason=reason)
    candidates = [one for one in findings if one.family == "corruption" and one.method == name]
    wanted = f"accuracy at severity {severity}"
    return _one(candidates, lambda value: value == wanted, f"{wanted} of {name}")


def _calibration(_: tuple[str, ...], findings: Sequence[Finding]) -> Resolved:
    return _of_family("calibration", "ece", (), findings)


# --- the general forms ---


def _general(arguments: tuple[str, ...]) -> tuple[str, str, str]:
    if len(arguments) not in (2, 3):
        raise ExpressionError(
            "expected value(FINDING, 'NAME') or value(METHOD, 'NAME', INPUT), received "
            f"{len(arguments)} argument{'' if len(arguments) == 1 else 's'}"
        )
    return arguments[0], arguments[1], arguments[2] if len(arguments) == 3 else ""


def _value(of: str, name: str, about: str, findings: Sequence[Finding]) -> Resolved:
    """Find a value by the finding's id, or by its method (and input); `measure: name` is that of a measure."""
    named = [finding for finding in findings if finding.id == of]
    candidates = named or [finding for finding in findings if finding.method == of and about in ("", finding.input)]
    measure, colon, inner = name.partition(": ")
    if colon and not any(name in finding.values for finding in candidates):
        return _of_measure(candidates, measure, inner)
    if not candidates:
        near = difflib.get_close_matches(of, [key for one in findings for key in (one.id, one.method)], n=1)
        return Resolved(reason=f"there is no finding {of!r}{f'; did you mean {near[0]!r}?' if near else ''}")
    return _one(candidates, lambda value: value == name, f"{name!r} of {of}", asked=name)


def _of_measure(candidates: Sequence[Finding], measure: str, name: str) -> Resolved:
    held = [(finding, trust) for finding in candidates for trust in finding.trust if trust.measure == measure]
    sources = tuple(
        Source(finding, name, trust.values[name], trust)
        for finding, trust in held
        if trust.status == "ok" and name in trust.values
    )
    reasons = [f"{trust.title} {trust.status}: {trust.reason}" for _, trust in held if trust.status != "ok"]
    return _single(sources, candidates, f"{measure}: {name}", reasons)


def _of_family(family: str, name: str, arguments: tuple[str, ...], findings: Sequence[Finding]) -> Resolved:
    """Find a value by family and name, or the share of its findings that a measure of that name speaks for.

    Each argument must be the finding's method, id, input or one of its parameters, or end the value's name: "NAME on
    ARGUMENT".
    """
    candidates = [finding for finding in findings if finding.family in (family, CALLED.get(family))]
    ends = {_plain(f"{name} {word} {argument}"): argument for word in PREPOSITIONS for argument in arguments}

    def says(finding: Finding, value: str) -> bool:
        if _plain(value) != _plain(name) and _plain(value) not in ends:
            return False
        said = ends.get(_plain(value))
        return all(argument == said or _is_of(finding, argument) for argument in arguments)

    of_findings = [argument for argument in arguments if any(_is_of(finding, argument) for finding in candidates)]
    told = [finding for finding in candidates if all(_is_of(finding, argument) for argument in of_findings)]
    if any(trust.measure == name for finding in candidates for trust in finding.trust):
        return _share_for(name, told)
    shown = f"{Metric(name, arguments)} of the family {family}"
    pairs = [(finding, value) for finding in candidates for value in finding.values if says(finding, value)]
    sources = tuple(Source(finding, value, finding.values[value]) for finding, value in pairs if finding.status == "ok")
    return _single(sources, told, shown, asked=name)


def _share_for(measure: str, findings: Sequence[Finding]) -> Resolved:
    """Return every finding that a measure has a say in; where it has none, the finding is lost."""
    if not findings:
        return Resolved(reason=f"there is no such finding that {measure} could speak of")
    sources, lost = [], []
    for finding in findings:
        said = [trust for trust in finding.trust if trust.measure == measure and trust.status == "ok"]
        if finding.status == "ok" and said:
            sources.append(Source(finding, measure, Value(value=said[0].speaks), said[0]))
        else:
            lost.append(finding)
    return Resolved(tuple(sources), "share for", lost=tuple(lost))


# --- what they have in common ---


def _first(families: Iterable[str], findings: Sequence[Finding]) -> list[Finding]:
    """Return the findings about all inputs of the first family that has any; a skipped one is not stood in for."""
    for family in families:
        held = [finding for finding in findings if finding.family == family and finding.input is None]
        if held:
            return held
    return []


def _labelled(
    candidates: Sequence[Finding], says: Callable[[str], bool], wanted: str, *, several: bool = False
) -> Resolved:
    """Return values that count right answers, if labels were given: a model is always right by its own answers."""
    reason = next(filter(None, map(_own_labels, candidates)), "")
    return Resolved(reason=reason) if reason else _one(candidates, says, wanted, several=several)


def _own_labels(finding: Finding) -> str:
    labels = finding.parameters.get("labels", GIVEN)
    return "" if labels == GIVEN else f"the right answers are not known: labels are {labels}"


def _one(
    candidates: Sequence[Finding],
    says: Callable[[str], bool],
    wanted: str,
    *,
    several: bool = False,
    asked: str = "",
) -> Resolved:
    sources = tuple(
        Source(finding, name, value)
        for finding in candidates
        if finding.status == "ok"
        for name, value in finding.values.items()
        if says(name)
    )
    if several and len(candidates) == 1 and sources:
        return Resolved(sources)
    return _single(sources, candidates, wanted, asked=asked)


def _single(
    sources: tuple[Source, ...],
    candidates: Sequence[Finding],
    wanted: str,
    reasons: Sequence[str] = (),
    *,
    asked: str = "",
) -> Resolved:
    """Return the one source; where there is none, or more than one, the reason."""
    lost = [f"{finding.title} {_WAS[finding.status]}: {finding.reason}" for finding in candidates if finding.reason]
    if len(sources) == 1 and not lost:
        return Resolved(sources)
    if len(sources) > 1:
        named = ", ".join(dict.fromkeys(source.finding.id for source in sources))
        return Resolved(reason=f"{len(sources)} values are {wanted}: name one with value(FINDING, 'NAME'); of {named}")
    told = [*reasons, *lost]
    return Resolved(reason="; ".join(told[:3]) if told else f"no finding gives {wanted}{_meant(asked, candidates)}")


def _meant(asked: str, candidates: Sequence[Finding]) -> str:
    """Return the names of values and measures that a name may have been meant for, as the end of a reason."""
    known = [name for one in candidates for name in (*one.values, *(trust.measure for trust in one.trust))]
    near = difflib.get_close_matches(_plain(asked), dict.fromkeys(map(_plain, known)), n=2, cutoff=0.7)
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""


_WAS = {"skipped": "was skipped", "failed": "failed", "ok": "is told"}


def _fits(finding: Finding, wanted: dict[str, str]) -> bool:
    """Say whether a finding has the parameters that were named; attacks that make no named plan are told by name."""
    held = {**finding.parameters, "plan": finding.parameters.get("plan")}
    if held["plan"] == OWN_PLAN:
        held["plan"] = finding.parameters.get("attacks")
    return all(not text or held.get(name) == text for name, text in wanted.items())


def _is_at(name: str, word: str, size: Fraction) -> bool:
    """Say whether a value is that at a size, however the size was written: 1/2 is 0.5."""
    return _size_of(name, word) == size


def _size_of(name: str, word: str) -> Fraction | None:
    """Return the size that a value's name tells; None if it is not of that word."""
    start = f"{word} at "
    try:
        return read_number(name.removeprefix(start)) if name.startswith(start) else None
    except ExpressionError:
        return None


def _is_of(finding: Finding, argument: str) -> bool:
    said = (finding.method, finding.id, finding.id.rpartition("/")[2], finding.input, *finding.parameters.values())
    return argument in map(str, said)


def _plain(name: str) -> str:
    return name.casefold().replace("_", " ").replace("-", " ")


# --- arguments ---


def _none(arguments: tuple[str, ...]) -> None:
    if arguments:
        raise ExpressionError(f"received {', '.join(arguments)}")


def _any(_: tuple[str, ...]) -> None:
    pass


def _single_name(arguments: tuple[str, ...]) -> None:
    if len(arguments) != 1:
        raise ExpressionError(f"received {len(arguments)} names")


def _name_and_severity(arguments: tuple[str, ...]) -> None:
    if len(arguments) != 2 or arguments[1] not in ("1", "2", "3", "4", "5"):
        raise ExpressionError(f"received {', '.join(arguments) or 'nothing'}; a severity is 1 to 5")


def _threat(arguments: tuple[str, ...]) -> tuple[Fraction, str, str]:
    """Return size, norm and plan; a norm or plan that is not named is ""."""
    if not arguments:
        raise ExpressionError("the size of the change is missing, such as 2/255")
    size = read_number(arguments[-1])
    if size < 0:
        raise ExpressionError(f"a size is not negative, received {arguments[-1]}")
    norms = [word for word in arguments[:-1] if word in NORMS]
    plans = [word for word in arguments[:-1] if word not in NORMS]
    if len(norms) > 1 or len(plans) > 1:
        raise ExpressionError(f"received {', '.join(arguments)}")
    return size, norms[0] if norms else "", plans[0] if plans else ""


def _no_plan(arguments: tuple[str, ...]) -> None:
    if plan := _threat(arguments)[2]:
        near = difflib.get_close_matches(plan, NORMS, n=1)
        raise ExpressionError(f"there is no norm {plan!r}{f'; did you mean {near[0]!r}?' if near else ''}")


SHORT: dict[str, Short] = {
    "accuracy": Short("accuracy", "more", _none, _accuracy),
    "class_accuracy": Short("class_accuracy(CLASS)", "more", _single_name, _part("class")),
    "group_accuracy": Short("group_accuracy(GROUP)", "more", _single_name, _part("group")),
    "worst_class_accuracy": Short("worst_class_accuracy", "more", _any, _worst("class")),
    "worst_group_accuracy": Short("worst_group_accuracy(GROUP, ...)", "more", _any, _worst("group")),
    "robust_accuracy": Short("robust_accuracy(PLAN, NORM, SIZE)", "more", _threat, _attacked),
    "certified_accuracy": Short("certified_accuracy(NORM, SIZE)", "more", _no_plan, _certified),
    "verified_accuracy": Short("verified_accuracy(NORM, SIZE)", "more", _no_plan, _verified),
    "verified": Short("verified('PROPERTY')", "", _single_name, _stated),
    "smoothed_accuracy": Short("smoothed_accuracy(NORM, SIZE)", "more", _no_plan, _smoothed),
    "corruption": Short("corruption(NAME, SEVERITY)", "more", _name_and_severity, _corruption),
    "ece": Short("ece", "less", _none, _calibration),
}
