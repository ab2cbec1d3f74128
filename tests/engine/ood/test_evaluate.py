"""Figures are those of the scores; what chose the members of a combination is never what it is judged on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

import xai
from tests.engine.ood.conftest import FEW, Pictures
from xai.data.dataset import open_data
from xai.engine.ood import evaluate as evaluating
from xai.engine.ood import fit as fitting
from xai.engine.ood.detector import open_detector
from xai.errors import UsageError
from xai.models.model import Model
from xai.reports.artefacts import get_rows
from xai.reports.run import Run
from xai.robustness.ood.combination import Scores, choose, combination
from xai.robustness.ood.features import content_keys
from xai.robustness.ood.guard import COMBINED, parted
from xai.robustness.ood.probes import PROBES, make_probe
from xai.runtime import Runtime


@pytest.fixture(scope="module")
def sets(new: Pictures) -> dict[str, torch.Tensor]:
    return {"faint": (0.3 * new[0] + 0.1)[:70], "mirrored": new[0][:90].flip(3)}


@pytest.fixture(scope="module")
def run(digits: Model, fitted: Run, new: Pictures, sets: dict[str, torch.Tensor]) -> Run:
    return xai.ood.evaluate(
        digits, fitted, new, {"faint": sets["faint"]}, near={"mirrored": sets["mirrored"]}, rounds=20
    )


def figures(run: Run) -> dict[tuple[str, str], dict[str, Any]]:
    rows = get_rows(run.store, run["evaluation"].record.artefacts["figures"])
    return {(row["set"], row["name"]): row for row in rows}


def test_every_figure_of_every_detector_is_that_of_its_scores(
    digits: Model, fitted: Run, new: Pictures, sets: dict[str, torch.Tensor], run: Run
) -> None:
    guard = open_detector(fitted, digits).guard
    inside = guard.scores(digits, new[0])
    found = figures(run)
    for name, x in sets.items():
        outside = guard.scores(digits, x)
        for each in (*FEW, COMBINED, "features"):
            row = found[name, each]
            scores = torch.cat((inside[each], outside[each])).numpy()
            foreign = np.array([0] * len(new[0]) + [1] * len(x))
            assert row["AUROC"][0] == pytest.approx(roc_auc_score(foreign, scores), abs=1e-3)
            assert row["AUPR-out"][0] == pytest.approx(average_precision_score(foreign, scores), abs=1e-2)
            assert row["AUPR-in"][0] == pytest.approx(average_precision_score(1 - foreign, -scores), abs=1e-2)
            assert all(low <= high for _, low, high in (row[key] for key in ("AUROC", "FPR95")))
        whole = run["evaluation"].values[f"AUROC, {name}"]
        assert [whole.value, *(whole.interval or ())] == found[name, COMBINED]["AUROC"]


def test_every_probe_is_tried_and_is_what_it_says(digits: Model, fitted: Run, new: Pictures, run: Run) -> None:
    titles = [one.title for one in run.findings[1:]]
    assert titles == ["Against mirrored", "Against faint", *(f"Against {name}" for name in PROBES)]
    keys = [sample.digest for sample in open_data(new, digits).read_many(range(len(new[0]))).samples]
    made = make_probe("noise", new[0], digits.input, Runtime(), keys)
    guard = open_detector(fitted, digits).guard
    finding = next(one for one in run.findings if one.id == "set/noise")
    expected = guard.scores(digits, made)[COMBINED].sort().values
    np.testing.assert_allclose(run.array(finding, "outside"), expected, rtol=1e-4)


def test_the_worst_and_the_mean_are_set_beside_the_best_single_detectors(run: Run) -> None:
    found = figures(run)
    names = dict.fromkeys(one for one, _ in found)
    of = {each: [found[name, each]["AUROC"][0] for name in names] for each in (*FEW, COMBINED)}
    values = run["evaluation"].values
    assert values["worst AUROC"].value == min(of[COMBINED])
    assert values["mean AUROC"].value == pytest.approx(np.mean(of[COMBINED]))
    assert values["worst AUROC of a single one"].value == max(min(of[name]) for name in FEW)
    assert values["mean AUROC of a single one"].value == pytest.approx(max(np.mean(of[name]) for name in FEW))
    assert values["mean AUROC, near"].value == found["mirrored", COMBINED]["AUROC"][0]
    assert values["mean AUROC, far"].value == found["faint", COMBINED]["AUROC"][0]
    assert values["mean AUROC, probe"].n == len(PROBES)


def test_a_combination_is_judged_on_a_set_that_did_not_choose_it(
    digits: Model, fitted: Run, new: Pictures, sets: dict[str, torch.Tensor]
) -> None:
    run = xai.ood.evaluate(digits, fitted, new, sets, probes="none", rounds=0)
    guard = open_detector(fitted, digits).guard
    inside = {name: values for name, values in guard.scores(digits, new[0]).items() if name in FEW}
    halves = parted(content_keys(new[0]))
    for judged, other in (("faint", "mirrored"), ("mirrored", "faint")):
        scores = {name: guard.scores(digits, sets[name]) for name in sets}
        expected = []
        for first, second in (halves, halves[::-1]):
            reference = {name: values[first] for name, values in inside.items()}
            members = choose(reference, {other: {name: scores[other][name] for name in FEW}})
            made = combination(reference, members)
            kept = made.score({name: values[second] for name, values in inside.items()})
            out = made.score(scores[judged])
            expected.append(roc_auc_score([0] * len(kept) + [1] * len(out), torch.cat((kept, out))))
        found = figures(run)[judged, "chosen on the other sets"]["AUROC"][0]
        assert found == pytest.approx(np.mean(expected), abs=2e-3)


def test_images_that_choose_members_do_not_depend_on_the_order_of_all(
    digits: Model, fitted: Run, known: Pictures, new: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of data in the order of their classes the first ones are of one class."""
    shown: list[list[float]] = []

    def watch(reference: Scores, outliers: dict[str, Scores]) -> tuple[str, ...]:
        shown.extend(one["energy"].sort().values.tolist() for one in (reference, *outliers.values()))
        return tuple(reference)

    for engine in (evaluating, fitting):
        monkeypatch.setattr(engine, "ENOUGH", 20)
        monkeypatch.setattr(engine, "choose", watch)
    for turn in (torch.arange(90), torch.arange(89, -1, -1)):
        others = {"dark": (0.2 * new[0][:90])[turn], "mirrored": new[0][:90].flip(3)[turn]}
        xai.ood.evaluate(digits, fitted, new[0][90:180][turn], others, probes="none", rounds=0)
        xai.ood.fit(digits, known[0][-90:][turn], methods=["msp", "energy"], holdout=0.5, outliers=others, choose=True)
    half = len(shown) // 2
    assert half == 2 * 2 * 2 + 3
    for one, other in zip(shown[:half], shown[half:], strict=True):
        assert len(one) == 20
        assert one == pytest.approx(other, rel=1e-5)


def test_probes_are_made_of_images_from_all_over_the_data(
    digits: Model, fitted: Run, new: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluating, "PROBED", 3)
    run = xai.ood.evaluate(digits, fitted, new, probes=["inversion"], rounds=0)
    guard = open_detector(fitted, digits).guard
    last = len(new[0]) - 1
    expected = guard.scores(digits, 1 - new[0][[0, round(last / 2), last]])[COMBINED].sort().values
    np.testing.assert_allclose(run.array(run.findings[1], "outside"), expected, rtol=1e-4)


def test_what_is_found_and_kept_at_the_threshold_is_counted(
    digits: Model, fitted: Run, new: Pictures, sets: dict[str, torch.Tensor], run: Run
) -> None:
    guard = open_detector(fitted, digits).guard
    threshold = guard.calibrations[COMBINED].threshold.value
    kept = float((guard.scores(digits, new[0])[COMBINED] <= threshold).double().mean())
    assert run["evaluation"].values["kept"].value == pytest.approx(kept)
    found = next(one for one in run.findings if one.id == "set/faint").values["found"]
    assert found.value == pytest.approx(
        float((guard.scores(digits, sets["faint"])[COMBINED] > threshold).double().mean())
    )
    assert found.n == 70


def test_images_of_another_kind_are_no_promise_broken_in_silence(digits: Model, fitted: Run, new: Pictures) -> None:
    run = xai.ood.evaluate(digits, fitted, 1 - new[0], probes=["noise"], rounds=0)
    assert "calibration promised" in run["evaluation"].record.notes[0]


def test_labels_of_outliers_are_not_looked_up(digits: Model, fitted: Run, new: Pictures) -> None:
    run = xai.ood.evaluate(
        digits, fitted, new, {"odd": (new[0][:20], ["no class"] * 20)}, probes="none", rounds=0, limit=15
    )
    assert "AUROC, odd" in run["evaluation"].values


def test_probes_that_cannot_be_made_are_skipped_with_the_reason() -> None:
    net = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    model = xai.load(net, shape=(6,), range=(0, 1), classes=("a", "b", "c"))
    detector = xai.ood.fit(model, torch.rand(400, 6), methods=["msp", "energy"])
    run = xai.ood.evaluate(model, detector, torch.rand(50, 6), probes=["noise", "blur"], rounds=0)
    found = {one.id: (one.status, one.reason) for one in run.findings}
    assert found["set/noise"][0] == "ok"
    assert found["set/blur"][0] == "skipped"
    assert "rows and columns" in found["set/blur"][1]
    with pytest.raises(UsageError, match="no probe could be made"):
        xai.ood.evaluate(model, detector, torch.rand(50, 6), probes=["blur"], rounds=0)


def test_images_of_the_fit_itself_flatter(digits: Model, fitted: Run, known: Pictures, new: Pictures) -> None:
    for images, told in ((known[0], "600 of 600"), (torch.cat((new[0], known[0][[5, 9]])), f"2 of {len(new[0]) + 2}")):
        run = xai.ood.evaluate(digits, fitted, images, probes=["noise"], rounds=0)
        (note,) = run["evaluation"].record.notes
        assert note.startswith(f"{told} in-distribution images are among those that the detectors were fitted to")
