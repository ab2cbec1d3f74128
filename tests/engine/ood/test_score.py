"""Rows are the guard's own words; the most foreign images come first, beside those that are most alike."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import xai
from tests.engine.ood.conftest import FEW, Darkness, Pictures
from tests.networks import Linear
from xai.engine.ood.detector import open_detector
from xai.errors import RefusedFileError, TamperedError, UsageError
from xai.models.model import Model
from xai.reports.artefacts import get_rows
from xai.reports.html.page import render
from xai.reports.run import Run
from xai.robustness.ood.features import Reader
from xai.robustness.ood.guard import COMBINED


@pytest.fixture(scope="module")
def mixed(new: Pictures) -> Pictures:
    """Digits, and the same with little contrast."""
    return torch.cat((new[0][:30], 0.3 * new[0][:10] + 0.1)), torch.cat((new[1][:30], new[1][:10]))


@pytest.fixture(scope="module")
def scored(digits: Model, fitted: Run, mixed: Pictures) -> Run:
    return xai.ood.score(digits, fitted, mixed, examples=3)


def test_rows_are_the_verdicts_of_the_guard(digits: Model, fitted: Run, mixed: Pictures, scored: Run) -> None:
    guard = open_detector(fitted, digits).guard
    said = guard.judge(guard.scores(digits, mixed[0]))
    rows = scored["score"].rows
    assert len(rows) == 40
    for place, row in enumerate(rows):
        assert set(row["by"]) == {*FEW, COMBINED, "logits", "features", "shaping"}
        for name, told in row["by"].items():
            assert told["score"] == pytest.approx(float(said[name].scores[place]), rel=1e-4, abs=1e-9)
            assert told["inside"] == bool(said[name].inside[place])
            assert told["p"] == pytest.approx(float(said[name].p_values[place]))
        assert row["verdict"] == ("in-distribution" if row["by"][COMBINED]["inside"] else "out-of-distribution")
    assert sum(row["verdict"] == "out-of-distribution" for row in rows[30:]) >= 9


def test_shares_are_those_of_the_rows(scored: Run, mixed: Pictures, digits: Model) -> None:
    rows, values = scored["score"].rows, scored["score"].values
    out = [row["verdict"] == "out-of-distribution" for row in rows]
    assert values["out-of-distribution"].value == np.mean(out)
    right = (digits(mixed[0]).argmax(1) == mixed[1]).tolist()
    for name, wanted in (("in-distribution", False), ("out-of-distribution", True)):
        own = [hit for hit, foreign in zip(right, out, strict=True) if foreign is wanted]
        assert values[f"accuracy, {name}"].value == np.mean(own)
        assert values[f"accuracy, {name}"].n == len(own)
    for family in ("logits", "features", "shaping"):
        share = np.mean([not row["by"][family]["inside"] for row in rows])
        assert values[f"out-of-distribution by {family}"].value == share
    assert "are of another kind as a whole" in scored["score"].record.notes[0]


def test_the_most_foreign_images_are_looked_at_first(scored: Run) -> None:
    rows = sorted(scored["score"].rows, key=lambda row: -row["by"][COMBINED]["score"])
    verdicts = [one for one in scored.findings if one.family == "ood-verdict"]
    assert [one.input for one in verdicts] == [row["id"] for row in rows[:3]]
    for finding, row in zip(verdicts, rows, strict=False):
        assert finding.values["score"].value == row["by"][COMBINED]["score"]
        assert finding.values["p-value"].value == row["by"][COMBINED]["p"]
        judgements = {one["name"]: one for one in get_rows(scored.store, finding.artefacts["judgements"])}
        assert {name: one["score"] for name, one in judgements.items()} == {
            name: one["score"] for name, one in row["by"].items()
        }
        assert str(finding.values["said"].value).startswith(f"{row['verdict']}: its score ")


def test_the_images_beside_it_are_the_nearest_of_those_held_back(
    digits: Model, fitted: Run, scored: Run, mixed: Pictures
) -> None:
    known = open_detector(fitted, digits).known
    assert known is not None
    finding = next(one for one in scored.findings if one.family == "ood-verdict")
    x = torch.from_numpy(scored.prepared(scored.input(finding)))[None]
    features = Reader(digits).read(x).features[0].numpy()
    cosines = known.gallery.directions.double().numpy() @ (features / np.linalg.norm(features))
    order = np.argsort(-cosines)[:5]
    told = list(get_rows(scored.store, finding.artefacts["alike"]))
    assert [row["id"] for row in told] == [known.rows[place]["id"] for place in order]
    assert [row["alike"] for row in told] == pytest.approx(cosines[order], abs=1e-6)
    assert known.pictures is not None
    np.testing.assert_array_equal(scored.array(finding, "alike pictures"), known.pictures[order])


def test_an_image_that_is_remembered_is_most_like_itself(digits: Model, fitted: Run, known: Pictures) -> None:
    opened = open_detector(fitted, digits).known
    assert opened is not None
    place = 7
    row = opened.rows[place]
    index = int(row["id"].rpartition("/")[2])
    run = xai.ood.score(digits, fitted, known[0][index : index + 1])
    (finding,) = (one for one in run.findings if one.family == "ood-verdict")
    first = next(get_rows(run.store, finding.artefacts["alike"]))
    assert first["alike"] == pytest.approx(1, abs=1e-5)
    assert first["label"] == str(int(known[1][index]))


def test_the_map_says_by_how_much_the_score_falls(digits: Model, fitted: Run, scored: Run) -> None:
    found = [one for one in scored.findings if one.family == "explanation"]
    assert len(found) == 3
    finding = found[0]
    guard = open_detector(fitted, digits).guard
    x = torch.from_numpy(scored.prepared(scored.input(finding)))[None]
    score = float(guard.scores(digits, x)[COMBINED])
    assert finding.values["output"].value == pytest.approx(score, rel=1e-4)
    assert finding.target is not None
    assert finding.target.name == "being out-of-distribution"
    fill = x.mean(dim=(2, 3), keepdim=True)
    window, stride = 2, 1
    drops, counts = np.zeros((8, 8)), np.zeros((8, 8))
    for top in range(0, 7, stride):
        for left in range(0, 7, stride):
            covered = x.clone()
            covered[..., top : top + window, left : left + window] = fill
            fell = score - float(guard.scores(digits, covered)[COMBINED])
            drops[top : top + window, left : left + window] += fell
            counts[top : top + window, left : left + window] += 1
    assert finding.parameters["window"] == window
    np.testing.assert_allclose(scored.array(finding, "map"), drops / counts, rtol=1e-3, atol=1e-3 * abs(score))


def test_one_image_alone_is_judged_as_among_others(digits: Model, fitted: Run, mixed: Pictures, scored: Run) -> None:
    alone = xai.ood.score(digits, fitted, mixed[0][35:36])["score"].rows[0]
    for name, told in scored["score"].rows[35]["by"].items():
        assert alone["by"][name]["score"] == pytest.approx(told["score"], rel=1e-5, abs=1e-9)


def test_the_number_of_jobs_does_not_matter(digits: Model, fitted: Run, mixed: Pictures, scored: Run) -> None:
    again = xai.ood.score(digits, fitted, mixed, examples=3, jobs=3)
    assert [one.timeless() for one in again.findings] == [one.timeless() for one in scored.findings]


def test_what_gives_no_numbers_is_not_decided() -> None:
    model = xai.load(Darkness(), shape=(1, 4, 4), classes=("a", "b"))
    bright = 0.3 + 0.7 * torch.rand(200, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    detector = xai.ood.fit(model, bright, methods=["energy", "msp"])
    x = bright[:4].clone()
    x[2] = 0.1
    run = xai.ood.score(model, detector, x)
    rows = run["score"].rows
    assert [row["verdict"] == "not decided" for row in rows] == [False, False, True, False]
    assert rows[2]["by"] == {}
    assert run["score"].values["not decided"].value == 1
    assert any("for 1 of 4 images outputs or scores are NaN or infinite" in note for note in run.record.notes)
    nothing = xai.ood.score(model, detector, x[2:3])
    assert nothing["score"].values["out-of-distribution"].value is None


def test_a_detector_of_another_model_or_preparation_is_refused(digits: Model, fitted: Run) -> None:
    with pytest.raises(RefusedFileError, match="prepared otherwise"):
        xai.ood.score(xai.load(Linear(), shape=(3, 12, 10)), fitted, torch.rand(2, 3, 12, 10))
    other = xai.load(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10)), shape=(1, 8, 8), range=(0, 1))
    with pytest.raises(RefusedFileError, match="fitted to another model"):
        xai.ood.score(other, fitted, torch.rand(2, 1, 8, 8))
    cropped = xai.load("sample:digits", resize="crop", crop_fraction=0.5)
    with pytest.raises(RefusedFileError, match="prepared otherwise: resize stretch, and now crop"):
        xai.ood.score(cropped, fitted, torch.rand(2, 1, 8, 8))


def test_what_is_no_detector_is_told(digits: Model, scored: Run, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        xai.ood.score(digits, tmp_path / "gone", "sample:digits")
    with pytest.raises(UsageError, match="there is no record"):
        xai.ood.score(digits, tmp_path, "sample:digits")
    with pytest.raises(UsageError, match="a run of xai ood score and no detector"):
        xai.ood.score(digits, scored, "sample:digits")


def test_any_byte_that_was_changed_is_found(digits: Model, fitted: Run, tmp_path: Path) -> None:
    folder = fitted.save(tmp_path / "detector").parent
    for file in sorted((folder / "artefacts").iterdir()):
        content = file.read_bytes()
        if file.suffix in (".safetensors", ".json") or file.stem in _used(fitted):
            for damaged in (content[:-3], content[:10] + bytes([content[10] ^ 1]) + content[11:]):
                file.write_bytes(damaged)
                with pytest.raises(TamperedError, match="was changed after the run"):
                    xai.ood.score(digits, folder, "sample:digits")
            file.write_bytes(content)
    assert xai.ood.score(digits, folder, "sample:digits", examples=0)["score"].values["images"].value == 10


def _used(fitted: Run) -> set[str]:
    held = fitted["fit"].record.artefacts
    return {held[name].sha256 for name in ("gallery", "gallery features", "gallery rows")}


def test_an_explanation_has_the_verdict_beside_it(digits: Model, fitted: Run, mixed: Pictures) -> None:
    run = xai.explain(digits, [mixed[0][3], mixed[0][35]], methods=["gradcam"], measures="none", detector=fitted)
    assert [one.method for one in run.findings] == ["verdict", "gradcam", "verdict", "gradcam"]
    rows = xai.ood.score(digits, fitted, mixed[0])["score"].rows
    for finding, row in zip(run.findings[::2], (rows[3], rows[35]), strict=True):
        assert finding.values["verdict"].value == row["verdict"]
        assert finding.values["score"].value == pytest.approx(row["by"][COMBINED]["score"], rel=1e-5)
    with pytest.raises(RefusedFileError, match="prepared otherwise"):
        xai.explain(xai.load(Linear(), shape=(3, 12, 10)), torch.rand(3, 12, 10), detector=fitted)


def test_inputs_that_are_no_pictures_have_a_verdict_without_a_map() -> None:
    net = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    model = xai.load(net, shape=(6,), classes=("a", "b", "c"))
    generator = torch.Generator().manual_seed(0)
    detector = xai.ood.fit(model, torch.randn(400, 6, generator=generator), methods=["energy", "mahalanobis"])
    run = xai.ood.score(model, detector, 30 * torch.randn(3, 6, generator=generator), examples=2)
    assert [one.family for one in run.findings] == ["ood-score", "ood-verdict", "ood-verdict"]
    assert {row["verdict"] for row in run["score"].rows} == {"out-of-distribution"}
    assert "The held-back images that are most like it" in render(run).html


@pytest.mark.parametrize("forged", [b"", b"no array", b"\x93NUMPY\x01\x00"])
def test_arrays_that_are_none_are_refused(digits: Model, fitted: Run, tmp_path: Path, forged: bytes) -> None:
    folder = fitted.save(tmp_path / "detector").parent
    held = fitted["fit"].record.artefacts["gallery features"]
    digest = hashlib.sha256(forged).hexdigest()
    (folder / held.path).write_bytes(forged)
    record = (folder / "record.json").read_text().replace(f'"sha256": "{held.sha256}"', f'"sha256": "{digest}"')
    (folder / "record.json").write_text(record)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["record.json"] = hashlib.sha256(record.encode()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(RefusedFileError, match="cannot be read"):
        open_detector(folder, digits)
