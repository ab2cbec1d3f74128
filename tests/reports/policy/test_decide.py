"""Decisions: intervals decide, what is skipped never passes, and no verdict outruns its data."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from tests.reports.findings import attacked, finding, judged, share
from xai.reports.policy.decide import counted, decide
from xai.reports.policy.expression import read_demand
from xai.reports.records import Finding, Scalar, Value

ORDER = ("violated", "not decided", "holds")


def accuracy(count: int, total: int, **more: object) -> Finding:
    return finding("performance", {"accuracy": share(count, total)}, **more)  # type: ignore[arg-type]


def verdict(text: str, *findings: Finding) -> str:
    return decide(read_demand(text), findings).verdict


def test_59_right_answers_of_59_are_95_percent_and_58_are_not() -> None:
    assert verdict("accuracy >= 0.95", accuracy(59, 59)) == "holds"
    assert verdict("accuracy >= 0.95", accuracy(58, 58)) == "not decided"
    assert verdict("accuracy >= 0.95 with 99 % confidence", accuracy(90, 90)) == "holds"
    assert verdict("accuracy >= 0.95 with 99 % confidence", accuracy(89, 89)) == "not decided"


def test_the_ends_are_those_of_the_one_sided_binomial_test() -> None:
    made = decide(read_demand("accuracy >= 0.9 with 95 % confidence"), [accuracy(180, 200)])
    low = binomtest(180, 200, alternative="greater").proportion_ci(0.95).low
    high = binomtest(180, 200, alternative="less").proportion_ci(0.95).high
    assert made.interval == pytest.approx((low, high), abs=1e-12)


@given(st.integers(5, 400), st.floats(0.05, 0.95), st.floats(0.02, 0.98), st.sampled_from(["90 %", "95 %", "99 %"]))
@settings(deadline=None, max_examples=25)
def test_a_verdict_is_wrong_no_more_often_than_it_says(total: int, truth: float, at: float, sure: str) -> None:
    demand = read_demand(f"accuracy >= {at:.6f} with {sure} confidence")
    wrong = "holds" if truth < float(demand.threshold) else "violated"  # type: ignore[arg-type]
    chance = sum(
        binom.pmf(count, total, truth)
        for count in range(total + 1)
        if decide(demand, [accuracy(count, total)]).verdict == wrong
    )
    assert chance <= 1 - float(demand.confidence or 0) + 1e-9


@given(st.integers(1, 300), st.integers(0, 300), st.integers(1, 300), st.floats(0.01, 0.99), st.sampled_from("<>"))
@settings(deadline=None)
def test_more_successes_never_turn_a_verdict_back(
    total: int, count: int, more: int, at: float, comparison: str
) -> None:
    count, better = min(count, total), min(count + more, total)
    text = f"accuracy {comparison}= {at:.6f}"
    before, after = (ORDER.index(verdict(text, accuracy(one, total))) for one in (count, better))
    assert (after >= before) if comparison == ">" else (after <= before)


@given(st.integers(1, 300), st.integers(0, 300), st.integers(2, 5), st.floats(0.01, 0.99))
@settings(deadline=None)
def test_more_of_the_same_data_never_undecides(total: int, count: int, times: int, at: float) -> None:
    count = min(count, total)
    before = verdict(f"accuracy >= {at:.6f}", accuracy(count, total))
    after = verdict(f"accuracy >= {at:.6f}", accuracy(count * times, total * times))
    assert before in ("not decided", after)


numbers = st.floats(-5, 5, allow_nan=False)


@given(numbers, numbers, numbers, numbers, st.sampled_from([">=", "<=", ">", "<"]), st.booleans())
def test_nothing_holds_whose_own_value_violates_it(
    value: float, low: float, high: float, at: float, comparison: str, plain: bool
) -> None:
    measured = finding("calibration", {"error": Value(value=value, n=50, interval=(low, high))})
    demand = read_demand(f"calibration.error {comparison} {at:.9f}{' as measured' if plain else ''}")
    made = decide(demand, [measured])
    if made.verdict == "holds":
        assert demand.met_by(value)
    if made.verdict == "violated":
        assert not demand.met_by(value)


@given(st.integers(20, 500), st.floats(0, 1), st.floats(0.01, 0.06), st.booleans())
@settings(deadline=None, max_examples=60)
def test_as_many_as_are_said_to_be_needed_decide(total: int, part: float, apart: float, below: bool) -> None:
    count = round(part * total)
    at = count / total - apart if below else count / total + apart
    assume(0.01 < at < 0.99)
    made = decide(read_demand(f"accuracy >= {at:.6f}"), [accuracy(count, total)])
    assume(made.needed is not None)
    assert made.needed is not None
    assert made.verdict == "not decided"
    assert made.needed > total
    above = count / total > at
    enough = (made.needed * count) // total if above else -((-made.needed * count) // total)
    wanted = "holds" if above else "violated"
    assert verdict(f"accuracy >= {at:.6f}", accuracy(enough, made.needed)) == wanted
    if count == total:  # then the figure is exact
        assert verdict(f"accuracy >= {at:.6f}", accuracy(made.needed - 1, made.needed - 1)) == "not decided"


def test_the_sentence_gives_the_numbers() -> None:
    made = decide(read_demand("accuracy >= 95 %"), [accuracy(191, 200)])
    assert made.verdict == "not decided"
    assert made.sentence.startswith("accuracy is 95.50\N{NO-BREAK SPACE}% on 200; at least 92.")
    assert "with 95 % confidence. About 5371" in made.sentence.replace("\N{NARROW NO-BREAK SPACE}", "")
    assert made.sources[0].finding.id == "performance"


@pytest.mark.parametrize(("status", "words"), [("skipped", "was skipped: no labels"), ("failed", "failed: no labels")])
def test_what_was_skipped_or_failed_never_passes(status: str, words: str) -> None:
    lost = accuracy(100, 100, status=status, reason="no labels")
    spare = attacked({"0": 200}, 200)
    made = decide(read_demand("accuracy >= 0.1"), [lost, spare])
    assert made.verdict == "not decided"
    assert words in made.sentence
    assert verdict("accuracy >= 0.1", spare) == "holds", "where there is no such finding the next family tells"
    assert verdict("accuracy >= 0.1") == "not decided"


def test_a_model_is_not_right_by_its_own_answers() -> None:
    own = attacked({"1/255": 200}, labels="the model's own answers for 200 of 200")
    for text in ("accuracy >= 0.5", "robust_accuracy(1/255) >= 0.5"):
        made = decide(read_demand(text), [own])
        assert made.verdict == "not decided"
        assert "the right answers are not known" in made.sentence
    jpeg = finding("corruption", {"accuracy at severity 3": share(200, 200)}, name="jpeg")
    assert verdict("corruption(jpeg, 3) >= 0.5", own, jpeg) == "not decided"
    assert verdict("corruption(jpeg, 3) >= 0.5", attacked({}), jpeg) == "holds"


def test_an_alarm_takes_back_that_something_holds_and_not_that_it_is_violated() -> None:
    alarmed = attacked({"1/255": 199}).model_copy(update={"trust": (judged("masking", "against"),)})
    made = decide(read_demand("robust_accuracy(standard, 1/255) >= 0.9"), [alarmed])
    assert made.verdict == "not decided"
    assert "The figure would do, but The masking speaks against it" in made.sentence
    assert verdict("robust_accuracy(standard, 1/255) >= 0.999", alarmed) == "not decided"
    fallen = attacked({"1/255": 20}).model_copy(update={"trust": (judged("masking", "against"),)})
    assert verdict("robust_accuracy(standard, 1/255) >= 0.9", fallen) == "violated"


def test_sizes_norms_and_plans_are_those_that_were_measured() -> None:
    run = attacked({"1/255": 190, "0.5": 20})
    assert verdict("robust_accuracy(2/510) >= 0.9", run) == "holds"
    assert verdict("robust_accuracy(linf, 1/2) >= 0.9", run) == "violated"
    assert (
        "no finding gives robust accuracy at 3/255" in decide(read_demand("robust_accuracy(3/255) > 0"), [run]).reason
    )
    made = decide(read_demand("robust_accuracy(l2, 1/255) >= 0.9"), [run])
    assert made.reason == "it was not measured so: the findings' are of norm linf"
    lacking = attacked({"1/255": 200}, plan="standard, without Square")
    assert verdict("robust_accuracy(standard, 1/255) >= 0.9", lacking) == "not decided"


def test_draws_of_a_smoothed_classifier_are_no_certificate() -> None:
    smoothed = finding("smoothing", {"certified accuracy at 0.5": share(200, 200)}, parameters={"norm": "l2"})
    assert verdict("certified_accuracy(l2, 0.5) >= 0.5", smoothed) == "not decided"
    assert verdict("smoothed_accuracy(l2, 0.5) >= 0.5", smoothed) == "holds"


def certified(count: int, total: int = 200, size: str = "1/255") -> Finding:
    proved = share(count, total).model_copy(update={"bound": "least"})
    return finding("bounds", {f"certified accuracy at {size}": proved}, kind="sound", parameters={"norm": "linf"})


def test_what_is_not_proved_is_not_violated_unless_attacks_show_it() -> None:
    text = "certified_accuracy(1/255) >= 0.5"
    assert verdict(text, certified(140)) == "holds"
    alone = decide(read_demand(text), [certified(20)])
    assert (alone.verdict, alone.needed) == ("not decided", None)
    assert alone.sentence.startswith("certified_accuracy(1/255) is at least 10.00")
    assert "More images do not decide it" in alone.reason
    standing = attacked({"1/255": 150})
    assert verdict(text, certified(20), standing) == "not decided"
    fallen = decide(read_demand(text), [certified(20), attacked({"1/255": 60})])
    assert fallen.verdict == "violated"
    assert [source.finding.family for source in fallen.sources] == ["bounds", "robustness"]
    assert "at least 10.00\N{NO-BREAK SPACE}% and at most 30.00\N{NO-BREAK SPACE}% on 200" in fallen.sentence
    assert fallen.interval == pytest.approx(
        (
            binomtest(20, 200, alternative="greater").proportion_ci(0.95).low,
            binomtest(60, 200, alternative="less").proportion_ci(0.95).high,
        ),
        abs=1e-12,
    )


def test_attacks_tell_of_their_own_norm_and_of_larger_changes_only() -> None:
    text = "certified_accuracy(linf, 1/255) >= 0.5"
    assert verdict(text, certified(20), attacked({"1/255": 20}, norm="l2")) == "not decided"
    assert verdict(text, certified(20), attacked({"2/255": 20})) == "not decided", "less may fall to a smaller change"
    assert verdict(text, certified(20), attacked({"1/510": 20})) == "violated", "as much falls to a larger change"
    few = attacked({"1/255": 60})
    unsure = few.model_copy(update={"values": {**few.values, "not confirmed": Value(value=60, n=140)}})
    assert verdict(text, certified(20), unsure) == "not decided", "what was claimed only may be right"
    wrong = finding("performance", {"accuracy": share(40, 200)}, parameters={"labels": "given"})
    assert verdict(text, certified(20), wrong) == "violated", "no change at all is the smallest one"


def test_a_bound_from_below_is_no_violation_by_any_name() -> None:
    bounds = certified(20)
    assert verdict("value(bounds, 'certified accuracy at 1/255') >= 0.5", bounds) == "not decided"
    assert verdict("value(bounds, 'certified accuracy at 1/255') >= 0.5 as measured", bounds) == "not decided"
    assert verdict("certified_accuracy(1/255) >= 0.5 as measured", bounds, attacked({"1/255": 60})) == "violated"
    assert verdict("certified_accuracy(1/255) <= 0.5", bounds) == "not decided", "more of it may be so"
    reach = finding("bounds", {"largest, median": Value(value=0.01, bound="least")})
    assert verdict("value(bounds, 'largest, median') >= 0.005 as measured", reach) == "holds"
    made = decide(read_demand("value(bounds, 'largest, median') >= 0.02 as measured"), [reach])
    assert (made.verdict, made.interval) == ("not decided", None)
    draws = {"certified accuracy at 0.5": share(20, 200).model_copy(update={"bound": "least"})}
    smoothed = finding("smoothing", {**draws, "not known to be wrong": share(60, 200)}, parameters={"norm": "l2"})
    assert verdict("smoothed_accuracy(0.5) >= 0.5", smoothed) == "violated"
    assert verdict("smoothed_accuracy(0.5) >= 0.2", smoothed) == "not decided"


def searched(proved: int, left: int, size: str = "1/255", **rest: Any) -> Finding:
    values = {
        f"verified accuracy at {size}": share(proved, 200).model_copy(update={"bound": "least"}),
        f"accuracy under attack at {size}": share(left, 200),
    }
    about: dict[str, Scalar] = {"norm": "linf", "epsilons": size, "labels": "given"}
    return finding("verification", values, name=f"verification-{size}", kind="sound", parameters=about, **rest)


@pytest.mark.parametrize(
    ("proved", "left", "wanted"), [(140, 180, "holds"), (20, 150, "not decided"), (20, 60, "violated")]
)
def test_what_a_search_proves_and_what_its_counterexamples_leave_decide(proved: int, left: int, wanted: str) -> None:
    text = "verified_accuracy(linf, 1/255) >= 0.5"
    made = decide(read_demand(text), [searched(proved, left)])
    assert made.verdict == wanted
    names = ["verified accuracy at 1/255", "accuracy under attack at 1/255"]
    assert [source.name for source in made.sources] == names[: 1 if wanted == "holds" else 2]
    assert verdict("verified_accuracy(l2, 1/255) >= 0.5", searched(proved, left)) == "not decided"
    assert verdict("verified_accuracy(linf, 2/255) >= 0.5", searched(proved, left)) == "not decided"


def stated(verdict: str | None, name: str = "it holds", **rest: Any) -> Finding:
    values = {"decided by": Value(value="CROWN")} | ({"reason": Value(value="no time")} if verdict == OPEN else {})
    made = finding("property", values, name="property/0", kind="sound", **rest)
    return made.model_copy(update={"title": name, "verdict": verdict})


OPEN = "not decided"


@pytest.mark.parametrize("said", ["holds", "violated", OPEN])
def test_a_statement_takes_the_verdict_of_its_property(said: str) -> None:
    demand = read_demand("verified('it holds')")
    made = decide(demand, [stated("holds", "another"), stated(said)])
    assert made.verdict == said
    assert [(source.finding.title, source.name) for source in made.sources] == [("it holds", "verdict")]
    assert made.reason == ("no time" if said == OPEN else "")
    assert decide(demand.surely(Fraction(99, 100)), [stated(said)]).verdict == said


def test_a_property_that_is_not_there_or_broke_decides_nothing() -> None:
    demand = read_demand("verified('it holds')")
    broken = stated(None, "Properties", status="failed", reason="no memory")
    assert "no memory" in decide(demand, [broken]).reason
    assert "no finding gives the property 'it holds'" in decide(demand, [stated("holds", "another")]).reason
    twice = decide(demand, [stated("holds"), stated("holds")])
    assert (twice.verdict, "2 values are" in twice.reason) == (OPEN, True)
    assert decide(demand, []).verdict == OPEN
    against = stated("holds", trust=(judged("doubt", "against"),))
    assert decide(demand, [against]).verdict == OPEN


def test_a_search_at_another_size_that_failed_says_nothing_of_this_one() -> None:
    lost = searched(0, 0, "2/255", status="failed", reason="no memory").model_copy(update={"values": {}})
    assert verdict("verified_accuracy(2/510) >= 0.5", searched(140, 180), lost) == "holds"
    made = decide(read_demand("verified_accuracy(2/255) >= 0.5"), [searched(140, 180), lost])
    assert (made.verdict, "no memory" in made.reason) == ("not decided", True)


@pytest.mark.parametrize(("proved", "left", "needed"), [(110, 180, True), (60, 90, True), (60, 150, False)])
def test_more_images_decide_only_what_lies_on_one_side(proved: int, left: int, needed: bool) -> None:
    made = decide(read_demand("certified_accuracy(1/255) >= 0.5"), [certified(proved), attacked({"1/255": left})])
    assert made.verdict == "not decided"
    assert (made.needed is not None) == needed


def test_of_several_sets_of_attacks_the_one_that_leaves_least_decides() -> None:
    weak, strong = attacked({"1/255": 190}, plan="pgd"), attacked({"1/255": 120}, plan="standard")
    runs = [weak, strong.model_copy(update={"id": "strong"})]
    assert verdict("robust_accuracy(pgd, 1/255) >= 0.8", *runs) == "holds"
    made = decide(read_demand("robust_accuracy(1/255) >= 0.8"), runs)
    assert (made.verdict, made.estimate) == ("violated", 0.6)
    assert [source.finding.id for source in made.sources] == ["robustness", "strong"]
    lost = strong.model_copy(update={"id": "strong", "values": {}, "status": "failed", "reason": "no memory"})
    made = decide(read_demand("robust_accuracy(1/255) >= 0.8"), [weak, lost])
    assert made.verdict == "not decided"
    assert "failed: no memory" in made.reason
    l2 = attacked({"1/255": 10}, norm="l2")
    assert "norms linf and l2: name one" in decide(read_demand("robust_accuracy(1/255) >= 0.8"), [weak, l2]).reason


def test_the_least_group_decides() -> None:
    def groups(**counts: int) -> Finding:
        return finding("performance", {f"accuracy of group {name}": share(n, 100) for name, n in counts.items()})

    assert verdict("worst_group_accuracy >= 0.9", groups(day=99, night=98)) == "holds"
    assert verdict("worst_group_accuracy >= 0.9", groups(day=99, night=93)) == "not decided"
    made = decide(read_demand("worst_group_accuracy >= 0.9"), [groups(day=99, night=60, dawn=100)])
    assert made.verdict == "violated"
    assert (made.estimate, made.n, len(made.sources)) == (0.6, 100, 3)
    absent = decide(read_demand("worst_group_accuracy(day, rain) >= 0.9"), [groups(day=100)])
    assert absent.reason == "the data hold no group rain"
    assert verdict("group_accuracy(day) >= 0.9", groups(day=99, night=10)) == "holds"


def test_of_the_least_group_the_figure_is_its_own_and_enough_images_are_enough_for_each() -> None:
    counts = {"day": (11, 12), "dawn": (3, 3), "night": (40, 40)}
    shares = {f"accuracy of group {name}": share(*pair) for name, pair in counts.items()}
    made = decide(read_demand("worst_group_accuracy >= 0.6"), [finding("performance", shares)])
    assert (made.verdict, made.estimate, made.n) == ("not decided", 11 / 12, 12), "3 of 3 are no 92 %"
    assert made.interval is not None
    assert made.interval[0] == pytest.approx(binomtest(3, 3, alternative="greater").proportion_ci(0.95).low)
    assert made.needed is not None
    assert "of each like these would decide it" in made.sentence
    enough = {name: share(made.needed, made.needed) for name in shares}
    assert verdict("worst_group_accuracy >= 0.6", finding("performance", enough)) == "holds"


def test_the_least_of_several_is_called_violated_no_more_often_than_it_says() -> None:
    """Eight groups that all just meet the threshold: the worst looks bad by chance."""
    each = [
        decide(
            read_demand("worst_group_accuracy >= 0.8"),
            [finding("performance", {f"accuracy of group {i}": share(160 - (i == 0) * low, 200) for i in range(8)})],
        ).verdict
        == "violated"
        for low in range(40)
    ]
    first = each.index(True)
    assert 8 * binom.cdf(160 - first, 200, 0.8) <= 0.05


def test_a_measure_speaks_for_a_share_of_maps_and_what_it_skipped_counts_as_unknown() -> None:
    def maps(*said: tuple[str, str]) -> list[Finding]:
        return [
            finding(
                "explanation", name=f"map/{i}", about="star", trust=(judged("control", speaks, status, "no layer"),)
            )  # type: ignore[arg-type]
            for i, (speaks, status) in enumerate(said)
        ]

    good = decide(read_demand("explanation.control >= 0.75 as measured"), maps(*[("for", "ok")] * 3, ("against", "ok")))
    assert (good.verdict, good.estimate, good.n) == ("holds", 0.75, 4)
    assert verdict("explanation.control >= 0.75", *maps(*[("for", "ok")] * 3, ("against", "ok"))) == "not decided"
    lost = decide(
        read_demand("explanation.control >= 0.75 as measured"), maps(*[("for", "ok")] * 2, *[("for", "skipped")] * 2)
    )
    assert lost.verdict == "not decided"
    assert "2 of 4 have no say" in lost.sentence
    bad = maps(("against", "ok"), ("against", "ok"), ("for", "skipped"))
    assert verdict("explanation.control >= 0.5 as measured", *bad) == "violated"
    assert verdict("explanation.control >= 0.5") == "not decided"


def test_any_value_of_any_finding_can_be_required() -> None:
    auroc = finding("ood", {"AUROC on noise": Value(value=0.97, n=100, interval=(0.93, 0.99))}, name="distance")
    same = finding("determinism", {"same twice": Value(value=True), "seconds": Value(value=0.5)})
    assert verdict("ood.auroc(noise) >= 0.9", auroc) == "holds"
    assert verdict("ood.auroc(noise, distance) >= 0.9", auroc) == "holds"
    assert verdict("ood.auroc(noise, other) >= 0.9", auroc) == "not decided"
    assert verdict("ood.auroc(noise) >= 0.9 with 99 % confidence", auroc) == "not decided"
    assert verdict("value(determinism, 'same twice') == true", same) == "holds"
    assert verdict("value(determinism, 'same twice') == false", same) == "violated"
    assert verdict("value(determinism, 'same twice') >= 1", same) == "not decided"
    bare = decide(read_demand("value(determinism, seconds) <= 1"), [same])
    assert bare.verdict == "not decided"
    assert "as measured" in bare.reason
    assert verdict("value(determinism, seconds) <= 1 as measured", same) == "holds"
    inner = judged("control", "for").model_copy(update={"values": {"rho": Value(value=0.1)}})
    seen = finding("explanation", name="map", about="star", trust=(inner,))
    assert verdict("value(map, 'control: rho') <= 0.3 as measured", seen) == "holds"
    assert verdict("value(map, 'control: tau') <= 0.3 as measured", seen) == "not decided"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("ood.aurok(noise) >= 0.9", "did you mean 'auroc'?"),
        ("explanation.randomization >= 0.5", "did you mean 'randomisation'?"),
        ("value(performanc, accuracy) >= 0.5", "there is no finding 'performanc'; did you mean 'performance'?"),
        ("value(performance, acuracy) >= 0.5", "did you mean 'accuracy'?"),
    ],
)
def test_a_name_that_nothing_has_is_told_with_the_nearest(text: str, reason: str) -> None:
    found = [
        accuracy(5, 9),
        finding("ood-set", {"AUROC": Value(value=0.9, interval=(0.8, 0.95))}, name="set/noise"),
        finding("explanation", name="map", about="star", trust=(judged("randomisation", "for"),)),
    ]
    assert reason in decide(read_demand(text), found).reason


def test_two_findings_of_one_name_are_not_chosen_between() -> None:
    first = finding("ood", {"auroc": Value(value=0.9, interval=(0.8, 0.95))}, name="one")
    second = finding("ood", {"auroc": Value(value=0.2, interval=(0.1, 0.3))}, name="two")
    made = decide(read_demand("ood.auroc >= 0.5"), [first, second])
    assert made.verdict == "not decided"
    assert "2 values are auroc of the family ood" in made.reason
    assert "of one, two" in made.reason
    assert verdict("ood.auroc(two) >= 0.5", first, second) == "violated"


def test_a_share_is_known_by_its_interval() -> None:
    assert counted(share(19, 20)) == 19
    assert counted(Value(value=0.95, n=20, interval=(0.9, 0.99))) is None
    assert counted(Value(value=0.95, n=19, interval=(0.7, 0.99))) is None
    assert counted(Value(value=True, n=1, interval=(0.0, 1.0))) is None


def test_a_value_that_could_not_be_measured_decides_nothing() -> None:
    assert verdict("accuracy >= 0.1", finding("performance", {"accuracy": Value(value=None, n=0)})) == "not decided"
    assert verdict("accuracy >= 0.1", finding("performance", {"accuracy": share(0, 0)})) == "not decided"
    lost = finding("calibration", {"temperature": Value(value=None, reason="every image is right")})
    for text in ("calibration.temperature <= 2 as measured", "calibration.temperature == true"):
        made = decide(read_demand(text), [lost])
        assert made.reason == "it could not be measured: every image is right"


def test_a_count_is_as_it_is() -> None:
    counts = finding("robustness", {"not confirmed": Value(value=0, unit="images", n=12)})
    assert verdict("value(robustness, 'not confirmed') == 0", counts) == "holds"
    assert verdict("value(robustness, 'not confirmed') >= 1", counts) == "violated"
    assert Fraction(1, 2) == read_demand("value(a, b) == 1/2").threshold
