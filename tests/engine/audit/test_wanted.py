"""A policy says what is measured: every size, norm and plan that a requirement names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.engine.audit.small import model_of, policy_of
from xai.engine.audit.parts import Plans
from xai.engine.audit.wanted import SEVERITIES, wanted
from xai.engine.threat import AttackPlan, NoneFitsError
from xai.errors import UsageError

THREAT = {"norm": "l2", "epsilons": ["0.5"], "plan": "pgd"}


@pytest.mark.parametrize(
    ("requirement", "attacks", "certified", "smoothed"),
    [
        ("accuracy >= 0.5", {("pgd", "l2"): ("0.5",)}, {"l2": ("0.5",)}, ()),
        ("robust_accuracy(0.25) >= 0.5", {("pgd", "l2"): ("0.25", "0.5")}, {"l2": ("0.5",)}, ()),
        (
            "robust_accuracy(linf, 1/255) >= 0.5",
            {("pgd", "l2"): ("0.5",), ("pgd", "linf"): ("1/255",)},
            {"l2": ("0.5",)},
            (),
        ),
        (
            "robust_accuracy(standard, l1, 2) >= 0.5",
            {("pgd", "l2"): ("0.5",), ("standard", "l1"): ("2",)},
            {"l2": ("0.5",)},
            (),
        ),
        ("robust_accuracy(1/2) >= 0.5", {("pgd", "l2"): ("0.5",)}, {"l2": ("0.5",)}, ()),
        (
            "certified_accuracy(linf, 1/255) >= 0.5",
            {("pgd", "l2"): ("0.5",)},
            {"l2": ("0.5",), "linf": ("1/255",)},
            (),
        ),
        ("certified_accuracy(0.1) >= 0.5", {("pgd", "l2"): ("0.5",)}, {"l2": ("0.1", "0.5")}, ()),
        ("smoothed_accuracy(0.3) >= 0.5", {("pgd", "l2"): ("0.5",)}, {"l2": ("0.5",)}, ("0.3",)),
    ],
)
def test_what_a_requirement_names_is_measured_beside_the_threat_model(
    tmp_path: Path, requirement: str, attacks: Any, certified: Any, smoothed: Any
) -> None:
    found = wanted(policy_of(tmp_path, requirement, threat=THREAT).policy)
    assert found.attacks == attacks
    assert found.certified == certified
    assert found.smoothed == smoothed


def test_a_search_is_made_at_the_sizes_that_requirements_name_alone(tmp_path: Path) -> None:
    asked = ["verified_accuracy(0.1) >= 0.5", "verified_accuracy(1/10) >= 0.4", "verified_accuracy(linf, 1/255) >= 0.5"]
    read = policy_of(tmp_path, *asked, threat=THREAT, verification={"seconds": 3})
    found = wanted(read.policy)
    assert (found.verified, found.certified) == ({"l2": ("0.1",), "linf": ("1/255",)}, {"l2": ("0.5",)})
    plans = Plans.made(model_of(), found, 10, None).searches
    assert {key: plan.timeout for key, plan in plans.items()} == {("l2", "0.1"): 3, ("linf", "1/255"): 3}


def test_nothing_is_attacked_that_nobody_asked_for(tmp_path: Path) -> None:
    found = wanted(policy_of(tmp_path, "accuracy >= 0.5", "corruption(rotation, 4) >= 0.5").policy)
    assert (found.attacks, found.certified, found.smoothed) == ({}, {}, ())
    assert found.verified == {}
    assert found.corruptions == ("rotation",)
    assert found.severities == tuple(sorted({*SEVERITIES, 4}))


def test_the_first_attacks_that_can_be_tried_try_the_corruptions_and_no_others_do(tmp_path: Path) -> None:
    read = policy_of(tmp_path, "robust_accuracy(pgd, 0.1) >= 0.5", "robust_accuracy(square, 0.1) >= 0.5")
    box = model_of(lambda x: x.flatten(1)[:, :4])
    plans = Plans.made(box, wanted(read.policy), 10, None)
    pgd, square = plans.attacks["pgd", "linf"], plans.attacks["square", "linf"]
    assert isinstance(pgd, NoneFitsError)
    assert isinstance(square, AttackPlan)
    assert square.corruptions
    both = Plans.made(model_of(), wanted(read.policy), 10, None).attacks
    assert [bool(one.corruptions) for one in both.values() if isinstance(one, AttackPlan)] == [True, False]


@pytest.mark.parametrize(
    ("requirement", "parts", "words"),
    [
        ("robust_accuracy(pgdd, 0.1) >= 0.5", {}, "there is no attack 'pgdd'"),
        ("robust_accuracy(8) >= 0.5", {}, "8/255 was meant"),
        ("corruption(jpg, 3) >= 0.5", {}, "there is no corruption 'jpg'"),
        ("accuracy >= 0.5", {"explanations": {"methods": ["gradcamm"]}}, "'gradcamm'"),
    ],
)
def test_what_does_not_exist_is_told_before_anything_is_measured(
    tmp_path: Path, requirement: str, parts: dict[str, Any], words: str
) -> None:
    policy = policy_of(tmp_path, requirement, **parts).policy
    with pytest.raises(UsageError, match=words):
        Plans.made(model_of(), wanted(policy), 10, policy.explanations)
