"""Alarms of a run: which images and region they look at, and what the record says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import xai
from tests.engine.test_attack import attacked, images
from tests.robustness.alarms.subjects import hidden
from tests.robustness.victims import SHAPE, Scores, linear
from xai.cli.main import run as command
from xai.data.dataset import open_data
from xai.engine import attack as engine
from xai.engine.attack import attack
from xai.engine.belief import MOST, telling
from xai.engine.standing import Standing
from xai.engine.threat import plan_attack
from xai.errors import UsageError
from xai.models.model import Model
from xai.models.samples.digits import split
from xai.reports.artefacts import get
from xai.reports.records import Trust
from xai.reports.run import Run
from xai.robustness.alarms.base import alarms
from xai.runtime import Runtime

QUICK = Runtime(threads=1)  # small networks gain nothing by more, and lose much on a busy machine
ROW = {"right": True, "labelled": True, "attacked": True, "finite": True}


@pytest.fixture(scope="module")
def model() -> Model:
    return linear(range=(0.0, 1.0))


def trusted(run: Run) -> dict[str, Trust]:
    return {entry.measure: entry.model_copy(update={"seconds": 0.0}) for entry in run.findings[0].trust}


def standing(model: Model, distances: list[float | None], *epsilons: str) -> Standing:
    plan = plan_attack(model, ["pgd"], epsilons=epsilons)
    return Standing(({**ROW, "distance": distance} for distance in distances), plan)


def test_the_region_is_the_one_where_about_half_stand(model: Model) -> None:
    distances = [0.02] * 3 + [0.04] * 3 + [0.09] * 4
    assert telling(standing(model, distances, "0.01", "0.03", "0.05", "0.1")) == 0.05
    assert telling(standing(model, distances, "0.01", "0.1")) == 0.1, "none tells, so the largest"
    assert telling(standing(model, [None] * 10, "0.01", "0.1")) == 0.1


def test_without_a_size_the_median_of_what_was_found_is_taken(model: Model) -> None:
    found = standing(model, [0.1, 0.2, 0.4, None], "0")
    assert telling(found) == 0.2


def test_all_alarms_are_heard_on_an_honest_model_and_none_is_raised(model: Model) -> None:
    found = trusted(attacked(model, alarms=["all"], runtime=QUICK))
    assert list(found) == list(alarms.all())
    for entry in found.values():
        assert entry.status in ("ok", "skipped"), entry.reason
        assert entry.speaks != "against"
        assert entry.parameters.get("images", 36) == 36, "those that were attacked"
    assert found["transfer"].status == "skipped"
    assert "no other model for the same task" in found["transfer"].reason
    assert found["unbounded"].parameters["norm"] == "linf"


def test_no_more_images_than_needed_are_looked_at(model: Model) -> None:
    x, y = images(model, count=100, wrong=10)
    plan = plan_attack(model, ["fgsm"], epsilons=["0.05"], alarms=["zero_gradients"])
    found = trusted(attack(model, open_data((x, y), model), plan, runtime=QUICK))
    assert found["zero_gradients"].parameters["images"] == MOST == 64


def test_the_alarms_do_not_depend_on_jobs_or_on_each_other(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "shard_size", lambda _: 7)
    one, two = (trusted(attacked(model, alarms=["all"], jobs=jobs, runtime=QUICK)) for jobs in (1, 2))
    assert one == two
    assert trusted(attacked(model, alarms=["scaled_scores"], runtime=QUICK))["scaled_scores"] == one["scaled_scores"]


@pytest.mark.parametrize(
    ("names", "parameters", "epsilon"), [(["pgd"], {"pgd": {"steps": 1}}, "0.1"), (["fgsm"], {}, "0.1")]
)
def test_a_figure_of_weak_attacks_is_not_called_supported(
    digits: Model, names: list[str], parameters: dict[str, dict[str, int]], epsilon: str
) -> None:
    pictures = split()[1].images[:100], split()[1].labels[:100]
    heard = ["black_box", "more_steps", "scaled_scores"]
    plan = plan_attack(digits, names, epsilons=[epsilon], parameters=parameters, alarms=heard)
    found = trusted(attack(digits, open_data(pictures, digits), plan, runtime=QUICK))
    assert {entry.speaks for entry in found.values()} == {"against"}
    for entry in found.values():
        assert "that the run's attacks left standing at 0.1 fall to PGD" in entry.sentence
        assert entry.sentence.endswith(": the figure is too high.")
        counts = {name: value.value for name, value in entry.values.items()}
        most = max(value for name, value in counts.items() if name.startswith("only to") and "not to" not in name)
        left = 64 - counts["fall to the run's attacks"]
        assert entry.sentence.startswith(f"{most} of {left} images")


def test_what_the_run_felled_by_other_attacks_speaks_against_no_one(digits: Model) -> None:
    """Scores that shout mislead PGD; where the run tried what they do not mislead, its figure holds."""
    loud = hidden(digits, after=lambda scores: scores * 1000)
    pictures = split()[1].images[:100], split()[1].labels[:100]
    speaks = {}
    for name, parameters in (("pgd", {}), ("apgd-dlr", {"apgd-dlr": {"restarts": 3}})):
        plan = plan_attack(loud, [name], epsilons=["0.1"], alarms=["scaled_scores"], parameters=parameters)
        speaks[name] = trusted(attack(loud, open_data(pictures, loud), plan, runtime=QUICK))["scaled_scores"].speaks
    assert speaks["pgd"] == "against"
    assert speaks["apgd-dlr"] != "against"


def test_attacks_answer_the_same_whether_or_not_alarms_are_heard(model: Model) -> None:
    one, two = (attacked(model, alarms=[name], runtime=QUICK).findings[0].timeless() for name in ("none", "all"))
    assert (one.trust, len(two.trust)) == ((), len(alarms.all()))
    assert one == two.model_copy(update={"trust": ()})


def test_a_surrogate_is_listened_to(digits: Model) -> None:
    masked = hidden(digits, before=lambda x: torch.round(x * 4) / 4)
    pictures = split()[1].images[:40], split()[1].labels[:40]
    plan = plan_attack(masked, ["fgsm"], epsilons=["0.15"], alarms=["transfer"], surrogate=digits)
    (entry,) = attack(masked, open_data(pictures, masked), plan, runtime=QUICK).findings[0].trust
    assert (entry.speaks, entry.parameters["surrogate"]) == ("against", "digits")
    assert entry.parameters["surrogate fingerprint"] == digits.fingerprint


def test_the_call_names_alarms_and_surrogate(digits: Model) -> None:
    pictures = split()[1].images[:2], split()[1].labels[:2]
    model = hidden(digits, after=lambda scores: 2 * scores)
    run = xai.attack(model, pictures, attacks="fgsm", eps=0.1, alarms="zero_gradients", surrogate=digits)
    assert "alarms=['zero_gradients'], surrogate=xai.load('sample:digits')" in run.record.command


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alarms": ["unbouned"]}, "there is no alarm 'unbouned'; did you mean 'unbounded'"),
        ({"alarms": []}, "no alarm was named"),
        ({"alarms": ["unbounded"], "parameters": {"more_steps": {"few": 3}}}, "not among the alarms chosen: unbounded"),
        ({"parameters": {"more_steps": {"few": 0}}}, "parameters of more_steps do not fit: few"),
        ({"parameters": {"more_steps": {"fem": 1}}}, "did you mean 'few'"),
        ({"surrogate": "digits"}, "the surrogate does not fit: expected inputs of shape"),
        ({"surrogate": "itself"}, "the surrogate is the model itself: expected another network for the same task"),
        ({"surrogate": "again"}, "the surrogate is the model itself: expected another network for the same task"),
    ],
)
def test_what_does_not_fit_is_told_at_once(model: Model, digits: Model, options: dict[str, Any], message: str) -> None:
    if "surrogate" in options:
        others = {"digits": digits, "itself": model, "again": linear(range=(0.0, 1.0))}
        options = {"surrogate": others[options["surrogate"]]}
    with pytest.raises(UsageError, match=message):
        plan_attack(model, ["pgd"], epsilons=["0.1"], **options)


def test_parameters_of_attacks_and_alarms_stand_side_by_side(model: Model) -> None:
    parameters = {"pgd": {"steps": 3}, "more_steps": {"few": 2, "many": 5}}
    plan = plan_attack(model, ["pgd"], epsilons=["0.1"], alarms=["more_steps"], parameters=parameters)
    (entry,) = attack(model, open_data(images(model), model), plan, runtime=QUICK).findings[0].trust
    assert (entry.parameters["few"], entry.parameters["many"]) == (2, 5)
    assert {"fall to PGD of 2 steps", "fall to PGD of 5 steps"} <= set(entry.values)


def test_a_model_that_is_never_right_has_nothing_to_be_doubted(model: Model) -> None:
    x, y = images(model, wrong=0)
    plan = plan_attack(model, ["fgsm"], epsilons=["0.1"])
    run = attack(model, open_data((x, (y + 1) % 5), model), plan, runtime=QUICK)
    assert {entry.status for entry in run.findings[0].trust} == {"skipped"}
    assert "the model gets none right" in run.findings[0].trust[-1].reason


def test_what_is_stored_stays_in_the_range_of_a_model_that_normalises() -> None:
    """A clip in normalised units would let pixels leave the range, or the region be another one than was asked for."""
    model = xai.load(Scores(), shape=SHAPE, mean=0.5, std=0.2, range=(0.0, 1.0))
    x, y = images(model, wrong=0)
    run = attack(model, open_data((x, y), model), plan_attack(model, ["pgd"], epsilons=["0.2"], alarms=["none"]))
    finding = run.findings[0]
    found = np.concatenate([get(run.store, one) for name, one in finding.artefacts.items() if "adversarial/" in name])
    assert len(found) > 10
    assert found.min() >= 0
    assert found.max() <= 1


def test_the_command_tells_an_alarm_and_the_report_shows_it(
    digits: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "data.npz", images=split()[1].images[:20].numpy(), labels=split()[1].labels[:20].numpy())
    xai.export(hidden(digits, after=lambda scores: scores * 1000), tmp_path / "loud.pt2")
    arguments = ["--eps", "0.1", "--alarms", "zero_gradients,transfer", "--set", "zero_gradients.line=0.1"]
    code = command(
        ["attack", str(tmp_path / "loud.pt2"), str(tmp_path / "data.npz"), *arguments, "-o", str(tmp_path / "run")]
    )
    assert code == 0
    assert "alarm: Zero gradients: The gradient of the cross-entropy is zero" in capsys.readouterr().err
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    assert "--alarms zero_gradients,transfer" in record["command"]
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Can it be believed?" in page
    assert "What is this map worth?" not in page
    assert "Zero gradients, speaks against it" in page
    assert "Transfer does not apply: no other model for the same task was given" in page
