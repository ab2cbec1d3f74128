"""What a fit holds back, learns, promises and warns of; the same in any order, and after being killed."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import xai
from tests.engine.ood.conftest import FEW, Darkness, Pictures
from tests.networks import Linear
from xai.data.dataset import open_data
from xai.engine.ood.detector import open_detector
from xai.engine.ood.fit import fit
from xai.engine.ood.learn import held_back
from xai.engine.ood.plan import plan_fit
from xai.errors import AnalysisError, NotApplicableError, UsageError
from xai.models.model import Model
from xai.reports.run import Run
from xai.robustness.ood import fitting
from xai.robustness.ood.detectors.base import detectors
from xai.robustness.ood.features import Reader, content_keys
from xai.robustness.ood.guard import COMBINED
from xai.robustness.ood.metrics import auroc
from xai.runtime import Runtime


def thresholds(run: Run) -> dict[str, Any]:
    return {one.id: one.values["threshold"].value for one in run.findings if "threshold" in one.values}


def test_a_share_is_held_back_by_what_images_hold_and_gives_the_thresholds(
    digits: Model, known: Pictures, fitted: Run
) -> None:
    x, y = known
    back = held_back(content_keys(x), 0.3)
    assert 0.24 < float(back.double().mean()) < 0.36
    plain = fitting.fit(Reader(digits), [fitting.Batch(x[~back], y[~back])], [detectors.get(name)() for name in FEW])
    scores = plain.scores(digits, x[back])
    count = int(back.sum())
    place = math.ceil(0.95 * (count + 1))
    for name in FEW:
        finding = next(one for one in fitted.findings if one.id == name)
        assert finding.values["threshold"].value == pytest.approx(
            float(scores[name].sort().values[place - 1]), rel=1e-5
        )
        assert finding.values["threshold"].n == finding.values["keeps"].n == count
        np.testing.assert_allclose(fitted.array(finding, "held"), scores[name].sort().values, rtol=1e-5)
    assert fitted["fit"].values["images learnt of"].value == len(x) - count
    assert fitted["fit"].values["images held back"].value == count


def test_shares_that_are_held_back_are_about_those_asked_for_and_nested() -> None:
    keys = content_keys(torch.rand(4000, 5, generator=torch.Generator().manual_seed(1)))
    sets = [held_back(keys, share) for share in (0.01, 0.2, 0.5, 0.9)]
    for share, one in zip((0.01, 0.2, 0.5, 0.9), sets, strict=True):
        assert float(one.double().mean()) == pytest.approx(share, abs=0.03)
    assert all((~less | more).all() for less, more in pairwise(sets))


def test_accuracy_is_counted_over_both_parts_and_set_beside_the_cards(
    digits: Model, known: Pictures, fitted: Run
) -> None:
    x, y = known
    value = fitted["fit"].values["accuracy"]
    assert value.n == len(x)
    assert value.value == float((digits(x).argmax(1) == y).double().mean())
    assert fitted["fit"].values["accuracy by the card"].value == 0.998
    assert next(iter(fitted["fit"].values)) == "accuracy", "it is said first of all"
    assert fitted["fit"].record.notes == ()


def test_wrong_preprocessing_is_told(digits: Model, known: Pictures) -> None:
    run = xai.ood.fit(digits, (1 - known[0], known[1]), methods=["energy"])
    (note,) = run["fit"].record.notes
    assert f"right on {100 * run['fit'].values['accuracy'].value:.1f} % of 600" in note  # type: ignore[operator]  # a share
    assert "its card claims 99.8 %: wrong preprocessing is the usual cause" in note


def test_without_labels_it_is_said_that_nothing_was_checked(digits: Model, known: Pictures) -> None:
    run = xai.ood.fit(digits, [np.asarray(one) for one in known[0][:150]], methods=["energy"], keep=0.8)
    assert "accuracy" not in run["fit"].values
    assert "no image has a label" in run["fit"].record.notes[0]


def test_the_order_of_the_images_does_not_matter(digits: Model, known: Pictures, fitted: Run) -> None:
    again = xai.ood.fit(digits, (known[0].flip(0), known[1].flip(0)), methods=FEW, holdout=0.3)
    assert thresholds(again) == pytest.approx(thresholds(fitted), rel=1e-5)


def test_number_of_jobs_and_a_saved_run_do_not_matter(
    digits: Model, known: Pictures, fitted: Run, tmp_path: Path
) -> None:
    again = xai.ood.fit(digits, known, methods=FEW, holdout=0.3, jobs=3)
    assert [one.timeless() for one in again.findings] == [one.timeless() for one in fitted.findings]
    fitted.save(tmp_path / "detector")
    opened, held = open_detector(tmp_path / "detector", digits), open_detector(fitted, digits)
    scores = [one.guard.scores(digits, known[0][:5]) for one in (opened, held)]
    assert all(torch.equal(scores[0][name], scores[1][name]) for name in scores[0])
    assert opened.facts == held.facts


class KilledError(Exception):
    """As if the power had gone."""


@pytest.mark.parametrize(("stage", "after"), [("learning", 0), ("learning", 17), ("scoring what was held back", 1)])
def test_a_killed_fit_goes_on_to_the_same_record(
    digits: Model, known: Pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, after: int
) -> None:
    monkeypatch.setattr("xai.engine.ood.fit.shard_size", lambda _: 20)  # thirty shards, a block of them kept
    data, plan = open_data(known, digits), plan_fit(digits, FEW, holdout=0.3)
    whole = fit(data, plan, folder=None)
    seen: list[int] = []

    def die(name: str, done: int, total: int) -> None:
        if name == stage:
            seen.append(done)
            if done >= after:
                raise KilledError

    with pytest.raises(KilledError):
        fit(data, plan, runtime=Runtime(progress=die), folder=tmp_path / "shards", jobs=1)
    begun: list[int] = []
    again = fit(
        data,
        plan,
        runtime=Runtime(progress=lambda name, done, _: begun.append(done) if name == "learning" else None),
        folder=tmp_path / "shards",
        jobs=1,
    )
    assert [one.timeless() for one in again.findings] == [one.timeless() for one in whole.findings]
    assert begun[:1] == {0: [0], 17: [16], 1: []}[after]


def test_another_fit_does_not_go_on_with_it(digits: Model, known: Pictures, tmp_path: Path) -> None:
    data = open_data(known, digits)
    fit(data, plan_fit(digits, ["energy"]), folder=tmp_path / "shards")
    with pytest.raises(UsageError, match="the beginning of another run"):
        fit(data, plan_fit(digits, ["msp"]), folder=tmp_path / "shards")


def test_known_outliers_give_thresholds(digits: Model, known: Pictures, new: Pictures) -> None:
    faint = 0.3 * new[0] + 0.1
    rated = xai.ood.fit(digits, known, methods=["energy", "hbos"], outliers={"faint": faint}, fpr=0.1)
    guard = open_detector(rated, digits).guard
    scores = guard.scores(digits, faint)
    for name, one in guard.calibrations.items():
        passed = int((scores[name] <= one.threshold.value).sum())
        assert passed == math.floor(0.1 * (len(faint) + 1)) - 1, "the outlier at the threshold is caught"
        assert rated[name].values["lets pass"].value == pytest.approx(20 / 201, abs=1e-9)
    split = xai.ood.fit(digits, known, methods=["energy", "hbos"], outliers={"faint": faint}, best_split=True)
    for name, one in open_detector(split, digits).guard.calibrations.items():
        inside, out = one.scores, scores[name]

        def right(at: float, inside: torch.Tensor = inside, out: torch.Tensor = out) -> float:
            return float((inside <= at).double().mean() + (out > at).double().mean())

        assert right(one.threshold.value) == pytest.approx(max(right(float(at)) for at in torch.cat((inside, out))))


def test_known_outliers_choose_members(digits: Model, known: Pictures, new: Pictures) -> None:
    mirrored, names = {"mirrored": new[0].flip(3)}, ["msp", "gen", "hbos", "kde"]
    guards = [
        open_detector(run, digits).guard
        for run in (
            xai.ood.fit(digits, known, methods=names, outliers=mirrored, choose=True),
            xai.ood.fit(digits, known, methods=names),
        )
    ]
    chosen, every = (guard.combinations[COMBINED].members for guard in guards)
    assert set(chosen) < set(every) == set(names)
    reached = [
        auroc(guard.scores(digits, new[0])[COMBINED], guard.scores(digits, mirrored["mirrored"])[COMBINED])
        for guard in guards
    ]
    assert reached[0] > reached[1]


def test_of_a_black_box_only_its_outputs_are_looked_at(known: Pictures, digits: Model) -> None:
    box = xai.load(lambda x: digits(torch.as_tensor(x)), shape=(1, 8, 8), classes=digits.classes, output="logits")
    run = xai.ood.fit(box, known, methods=["msp", "knn", "energy"], parameters={"knn": {"k": 3}})
    found = {one.id: (one.status, one.reason) for one in run.findings if one.id in ("msp", "knn", "energy")}
    assert found["msp"] == found["energy"] == ("ok", "")
    assert found["knn"][0] == "skipped"
    assert "black box" in found["knn"][1]
    with pytest.raises(NotApplicableError, match="black box"):
        xai.ood.fit(box, known, methods=["knn"])


def test_inputs_that_are_no_pictures_are_remembered_by_name() -> None:
    net = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    model = xai.load(net, shape=(6,), classes=("a", "b", "c"))
    run = xai.ood.fit(model, torch.randn(400, 6), methods=["msp", "energy"], gallery=10)
    opened = open_detector(run, model)
    assert opened.known is not None
    assert opened.known.pictures is None
    assert len(opened.known.rows) == 10
    assert open_detector(xai.ood.fit(model, torch.randn(400, 6), methods=["msp"], gallery=0), model).known is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"holdout": 0.0}, "above 0 and below 1"),
        ({"holdout": 1.0}, "above 0 and below 1"),
        ({"keep": 1.0}, "above 0 and below 1"),
        ({"methods": ["knm"]}, "did you mean 'knn'"),
        ({"methods": "none"}, "no detector was named"),
        ({"layers": ["featurs"]}, "did you mean 'features'"),
        ({"parameters": {"knn": {"kk": 1}}}, "no parameter of knn"),
        ({"parameters": {"odin": {"epsilon": 0.1}}}, "not among those chosen"),
        ({"fpr": 0.1}, "needs known outliers"),
        ({"choose": True}, "needs known outliers"),
        ({"fpr": 0.1, "keep": 0.9}, "name one of them"),
        ({"gallery": -1}, "0 or more"),
        ({"limit": 30}, "hold back more, or keep fewer"),
    ],
)
def test_what_does_not_fit_is_refused(digits: Model, known: Pictures, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        xai.ood.fit(digits, known, **options)


def test_images_for_which_the_outputs_are_no_numbers_are_named() -> None:
    model = xai.load(Darkness(), shape=(1, 4, 4), classes=("a", "b"))
    x = 0.3 + 0.7 * torch.rand(200, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    x[150] = 0.1
    with pytest.raises(AnalysisError, match=r"NaN or infinite"):
        xai.ood.fit(model, x, methods=["energy"])
    x[150] = 0.5
    assert xai.ood.fit(model, x, methods=["energy"])["fit"].record.status == "ok"


@pytest.mark.parametrize("options", [{"fpr": 0.1}, {"best_split": True}, {"choose": True}])
def test_known_outliers_without_a_score_are_named(options: dict[str, Any]) -> None:
    model = xai.load(Darkness(), shape=(1, 4, 4), classes=("a", "b"))
    x = 0.3 + 0.7 * torch.rand(200, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    with pytest.raises(AnalysisError, match="NaN or infinite for all 20 images of night"):
        xai.ood.fit(model, x, methods=["energy"], outliers={"night": 0.1 * x[:20]}, **options)


def test_that_all_images_have_the_same_score_is_said() -> None:
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    x = torch.rand(300, 1, 4, 4, generator=torch.Generator().manual_seed(0))

    def notes() -> tuple[str, ...]:
        return xai.ood.fit(xai.load(net, shape=(1, 4, 4), classes=("a", "b")), x)["fit"].record.notes

    assert not any("same score" in note for note in notes())
    with torch.no_grad():
        net[1].weight.zero_()
    assert any("gives all held-back images the same score" in note for note in notes())


def test_a_model_of_values_has_no_logits_to_look_at() -> None:
    model = xai.load(Linear(), shape=(3, 12, 10), output="values")
    with pytest.raises(NotApplicableError, match="values, not classes"):
        xai.ood.fit(model, torch.rand(60, 3, 12, 10), methods=["msp"])
