"""Certificates: true for linear networks in closed form, careful where little is known, and modest in words."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
import torch
from scipy.stats import binom

from benchmarks._published import CLEAN, subject
from tests.robustness.smoothing.models import answering, opened
from tests.robustness.victims import SHAPE, case, nearest
from xai.errors import UsageError
from xai.reports.intervals import clopper_pearson
from xai.robustness.smoothing.certify import ABOUT, ABSTAINED, caution, certify, conclude, gather, sentence
from xai.robustness.smoothing.draws import NOTHING, Draws, Tally
from xai.robustness.smoothing.plan import Smoothing, Use
from xai.runtime import Runtime


def tally(selection: dict[int, int], estimation: dict[int, int]) -> Tally:
    return Tally(of="", done=2, counts={Use.SELECTION: selection, Use.ESTIMATION: estimation})


def test_a_linear_network_is_certified_up_to_its_distance_and_rarely_beyond() -> None:
    found = case(opened(), 4)
    distance = nearest(opened(), found, 2).numpy()
    plan = Smoothing(float(distance.mean()), n0=50, n=100, alpha=0.05)
    repeats = 150
    beyond = 0
    for seed in range(repeats):
        given = certify(opened(), found.x, plan, Runtime(seed=seed), list("abcd"))
        beyond += int(((given.radius > distance) | (given.predicted == 1 - found.label.numpy())).sum())
    assert 0 < beyond <= binom.ppf(0.999, 4 * repeats, plan.alpha)


def test_many_draws_come_close_to_the_distance() -> None:
    found = case(opened(), 3)
    distance = nearest(opened(), found, 2).numpy()
    plan = Smoothing(float(distance.mean()), n=20_000)
    given = certify(opened(), found.x, plan, Runtime(), list("abc"))
    assert (given.predicted == found.label.numpy()).all()
    assert (given.radius <= distance).all()
    # four standard deviations of the share, through the slope of the normal quantile
    share = np.array([NormalDist().cdf(each) for each in distance / plan.sigma])
    slope = plan.sigma / np.array([NormalDist().pdf(each) for each in distance / plan.sigma])
    spread = np.sqrt(share * (1 - share) / plan.n) * slope
    assert (distance - given.radius < 7.5 * spread).all()
    assert (distance - given.radius > 0).all()


@pytest.mark.parametrize("memory", [1, 30_000, 10**9])
def test_neither_order_nor_company_nor_batch_changes_a_certificate(memory: int) -> None:
    found, names = case(opened(5), 6), list("abcdef")
    plan = Smoothing(0.5, n0=20, n=300)
    whole = certify(opened(5), found.x, plan, Runtime(), names)
    order = [4, 0, 5]
    some = certify(opened(5), found.x[order], plan, Runtime(memory=memory), [names[place] for place in order])
    assert [some[place] for place in range(3)] == [whole[place] for place in order]
    assert len({whole[place].count for place in range(6)}) > 3


def test_draws_that_select_do_not_estimate() -> None:
    plan = Smoothing(0.5, n0=10, n=20)
    given = conclude(plan, tally({0: 9, 1: 1}, {0: 1, 1: 19}))
    assert (given.selected, given.count, given.predicted, given.radius) == (0, 1, ABSTAINED, 0)


def test_a_tie_is_an_abstention() -> None:
    plan = Smoothing(0.5, n0=10, n=1000)
    given = conclude(plan, tally({1: 5, 0: 5}, {0: 500, 1: 500}))
    assert (given.selected, given.predicted, given.radius) == (0, ABSTAINED, 0)
    assert given.lower == pytest.approx(clopper_pearson(500, 1000, confidence=1 - 2 * plan.alpha)[0], rel=1e-9)
    edge = next(count for count in range(1001) if plan.lower(count) > 0.5)
    assert conclude(plan, tally({0: 10}, {0: edge - 1, 1: 1001 - edge})).predicted == ABSTAINED
    assert conclude(plan, tally({0: 10}, {0: edge, 1: 1000 - edge})).predicted == 0


def test_outputs_that_are_not_finite_count_against_the_class() -> None:
    broken = replace(
        opened(),
        graph=None,
        forward=lambda x: torch.where(x.flatten(1)[:, :1] > 0.25, torch.nan, torch.tensor([1.0, 0.0])),
    )
    plan = Smoothing(1.0)
    given = certify(broken, torch.zeros(1, *SHAPE), plan, Runtime(), ["one"])[0]
    assert given.count + given.nothing == plan.n
    assert given.nothing / plan.n == pytest.approx(1 - NormalDist().cdf(0.25), abs=0.06)
    assert given.predicted == 0
    assert 0 < given.radius < 0.25 < plan.ceiling  # the distance to where there is no answer


def test_no_answer_is_never_selected() -> None:
    given = conclude(Smoothing(0.5, n0=10, n=1000), tally({NOTHING: 6, 1: 4}, {NOTHING: 100, 1: 900}))
    assert (given.selected, given.predicted, given.count, given.nothing) == (1, 1, 900, 100)


def test_where_nothing_is_ever_answered_the_smoothed_classifier_abstains() -> None:
    model = replace(opened(), graph=None, forward=lambda x: torch.full((len(x), 2), torch.nan))
    plan = Smoothing(1.0, n=50)
    given = certify(model, torch.zeros(1, *SHAPE), plan, Runtime(), ["one"])[0]
    assert (given.selected, given.predicted, given.lower, given.radius) == (NOTHING, ABSTAINED, 0, 0)
    assert "no draw gave any class" in sentence(given, plan, model)
    same = certify(opened(), torch.full((1, *SHAPE), torch.nan), plan, Runtime(), ["one"])[0]
    assert same == given


@pytest.mark.parametrize("sigma", [1e3, 1e35, 1e300])
def test_noise_that_drowns_the_input_leads_to_an_abstention(sigma: float) -> None:
    x = torch.zeros(1, *SHAPE)
    given = certify(opened(), x, Smoothing(sigma), Runtime(), ["one"])[0]
    assert (given.predicted, given.radius) == (ABSTAINED, 0)
    assert given.nothing == (1000 if sigma > 1e38 else 0)


def test_a_model_that_draws_is_smoothed_with_its_own_draws() -> None:
    # the class is given where the first number is below 1, and then four times in five
    model = answering(lambda x: (x.flatten(1)[:, 0] < 1) & (torch.rand(()) < 0.8), draws=True)
    plan = Smoothing(0.5, n=4000)
    given = certify(model, torch.zeros(1, *SHAPE), plan, Runtime(), ["one"])[0]
    assert given.predicted == 1
    assert given.count / plan.n == pytest.approx(0.8 * NormalDist().cdf(2), abs=0.03)
    # it stays the more frequent answer as long as .8 * ndtr((1 - r) / sigma) is above one half
    assert given.radius < 1 - 0.5 * NormalDist().inv_cdf(0.5 / 0.8)


def test_draws_that_are_missing_are_no_basis() -> None:
    plan = Smoothing(0.5, n0=10, n=20)
    with pytest.raises(UsageError, match="expected 10 and 20 draws, received 10 and 19"):
        conclude(plan, tally({0: 10}, {0: 19}))
    begun = Draws(opened(), torch.zeros(SHAPE), plan, Runtime(), "one")
    with pytest.raises(UsageError, match="received 0 and 0: go on"):
        conclude(plan, begun.tally)


def test_each_input_needs_a_name() -> None:
    with pytest.raises(UsageError, match="expected a name for each of 2 inputs, received 1"):
        certify(opened(), torch.zeros(2, *SHAPE), Smoothing(0.5), Runtime(), ["one"])


def test_no_inputs_give_no_certificates() -> None:
    given = certify(opened(), torch.zeros(0, *SHAPE), Smoothing(0.5), Runtime(), [])
    assert len(given) == 0
    assert given.radius.dtype == np.float64
    assert given.predicted.dtype == np.int64


def test_certified_are_right_answers_that_hold_beyond_the_size() -> None:
    plan = Smoothing(0.5, n0=10, n=100)
    sure = conclude(plan, tally({0: 10}, {0: 100}))
    unsure = conclude(plan, tally({0: 10}, {0: 50, 1: 50}))
    given = gather([sure, sure, unsure], ["right", "wrong", "abstained"])
    label = np.array([0, 1, 0])
    assert given.certified(label, 0).tolist() == [True, False, False]
    assert given.certified(label, plan.ceiling * 0.999).tolist() == [True, False, False]
    assert not given.certified(label, plan.ceiling).any()


def test_progress_counts_draws() -> None:
    told: list[tuple[str, int, int]] = []
    runtime = Runtime(progress=lambda stage, done, total: told.append((stage, done, total)))
    certify(opened(), torch.zeros(2, *SHAPE), Smoothing(0.5, n0=10, n=200), runtime, ["one", "two"])
    assert told[0] == ("smoothing", 10, 420)
    assert told[-1] == ("smoothing", 420, 420)
    assert [done for _, done, _ in told] == sorted({done for _, done, _ in told})


def test_words_claim_no_more_than_is_known() -> None:
    plan = Smoothing(0.25)
    sure = conclude(plan, tally({1: 100}, {0: 1, 1: 999}))
    said = sentence(sure, plan, opened())
    assert plan.radius(plan.lower(999)) == pytest.approx(0.589412, abs=1e-6)
    assert said == (
        "With probability at least 1 - 0.001 over the draws, the smoothed classifier (what the network answers most "
        f"often under Gaussian noise of standard deviation 0.25) answers {opened().answers[1]} for every input at an "
        "l2 distance below 0.5894: 999 of 1000 draws gave it. This is statistics about the smoothed classifier, and "
        "says nothing of the network without noise."
    )
    abstained = sentence(conclude(plan, tally({1: 100}, {0: 490, 1: 510})), plan, opened())
    assert abstained.startswith("The smoothed classifier abstains: 510 of 1000 draws gave ")
    assert caution(plan, 100) == (
        "Each statement is wrong with probability at most 0.001: of 100, at most 0.1 are expected to be wrong, and all "
        "are right together with probability at least 0.9000."
    )
    assert "cannot be expected" in caution(plan, 1000)
    for text in (said, abstained, caution(plan, 100), ABOUT.summary):
        assert not {"proved", "guaranteed", "certain", "safe"} & set(text.lower().split())


@pytest.mark.parametrize("radius", [0.12345999, 0.99999999, 12.999999, 1.23456e-7])
def test_a_radius_is_never_rounded_up(radius: float) -> None:
    plan = Smoothing(0.25)
    sure = replace(conclude(plan, tally({0: 100}, {0: 1000})), radius=radius)
    text = sentence(sure, plan, opened()).split("distance below ")[1].split(":")[0]
    assert radius * 0.999 <= float(text) <= radius


def test_a_certificate_is_plain_data() -> None:
    given = certify(opened(), torch.zeros(1, *SHAPE), Smoothing(0.5, n0=10, n=20), Runtime(), ["one"])[0]
    assert json.loads(json.dumps(vars(given))) == vars(given)


def test_figures_measured_by_others_on_handwritten_digits(data: Path) -> None:
    digits = subject(CLEAN, "cpu").first(10)
    plan = Smoothing(0.25)
    given = certify(digits.model, digits.x, plan, Runtime(), [str(place) for place in range(10)])
    assert plan.ceiling == pytest.approx(0.616, abs=5e-4)
    for radius, share in ((0.25, 0.96), (0.5, 0.84)):
        low, high = clopper_pearson(int(given.certified(digits.y.numpy(), radius).sum()), 10)
        assert low <= share <= high
    assert given.certified(digits.y.numpy(), 0.25).sum() >= 9
