"""A data set of explanations: rows, shares, groups, what is suspected, and what is not."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.conftest import IMAGES
from tests.reports.test_renderings import words
from xai.api import explain, load
from xai.data.dataset import DataSet, Shard, open_data
from xai.engine.plan import plan_explain
from xai.engine.summary.looking import MAIN
from xai.engine.summary.run import summarise
from xai.engine.summary.small import SIDE, shrunk
from xai.engine.sweep import shard_size
from xai.errors import AnalysisError, UsageError
from xai.measures.base import Judgement, Measure, Subject
from xai.models.model import Model
from xai.models.samples.watermark import held_out, marked, place
from xai.reports.artefacts import get, get_rows
from xai.reports.derived import derived, differing
from xai.reports.html.page import render
from xai.reports.records import Finding
from xai.reports.run import Run
from xai.reports.worth import TRUST, trust_of
from xai.runtime import Runtime

COARSE = {"occlusion": {"window": 12, "stride": 6}}


class Flat(nn.Module):
    """Answers the second of three classes, whatever it sees."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 0 * x.flatten(1)[:, :3] + torch.tensor([0.0, 1.0, 0.0])


def summed(model: Model, data: Any, **options: Any) -> Run:
    return explain(model, data, summary=True, **options)


def groups(run: Run, method: str) -> list[dict[str, Any]]:
    return list(get_rows(run.store, run[method].record.artefacts["groups"]))


def untimed(run: Run) -> list[Finding]:
    return [finding.timeless() for finding in run.findings]


@pytest.fixture(scope="module")
def watermark() -> Model:
    return load("sample:watermark")


@pytest.fixture(scope="module")
def leaning(watermark: Model) -> Run:
    return summed(watermark, "sample:watermark:0-132", methods="occlusion", measures="none", parameters=COARSE)


@pytest.fixture(scope="module")
def judged(shapes: Model) -> Run:
    return summed(shapes, "sample:shapes:0-24", methods="gradcam", measures="deletion")


def test_the_planted_mark_is_found_and_said(leaning: Run) -> None:
    finding = leaning["occlusion"].record
    assert finding.values["places suspected"].value == 1
    (suspected,) = [one for one in groups(leaning, "occlusion") if one["tried"] and one["tried"]["suspected"]]
    assert suspected["of"] == "star"
    found, mark = suspected["place"], place().numpy()
    inside = mark[found["top"] : found["bottom"], found["left"] : found["right"]]
    assert inside.sum() > 0.8 * mark.sum(), "it covers the mark"
    assert mark[(found["top"] + found["bottom"]) // 2, (found["left"] + found["right"]) // 2], "and is centred in it"
    tried = suspected["tried"]
    assert tried["p_changed"] < 1e-3
    assert tried["p_turned"] < 1e-3
    assert tried["changed_elsewhere"] <= 0.1 * tried["images"]
    (note,) = [note for note in finding.notes if note.startswith("A suspicion")]
    assert f"of {tried['images']} images answered “star” {tried['changed']} change their answer" in note
    assert "A person has to look at it" in note
    assert finding.values["changed by the place, star, group 1"].value == tried["changed"] / tried["images"]


def test_kernelshap_finds_the_planted_mark_too(watermark: Model) -> None:
    few = {"kernelshap": {"samples": 200}}
    run = summed(watermark, "sample:watermark:0-132", methods="kernelshap", measures="none", parameters=few)
    (suspected,) = [one for one in groups(run, "kernelshap") if one["tried"] and one["tried"]["suspected"]]
    assert suspected["of"] == "star"
    found, mark = suspected["place"], place().numpy()
    assert mark[found["top"] : found["bottom"], found["left"] : found["right"]].sum() > 0.8 * mark.sum()


def test_what_the_check_counts_is_what_the_model_answers(leaning: Run, watermark: Model) -> None:
    """Counted again by hand: the place of the first other image is put onto each star of the group."""
    (one,) = [one for one in groups(leaning, "occlusion") if one["tried"] and one["tried"]["suspected"]]
    rows = leaning["occlusion"].rows
    images, _ = held_out(0, 132)
    stars = [n for n, row in enumerate(rows) if row["answer"] == "star" and row["group of its class"] == one["group"]]
    others = [n for n, row in enumerate(rows) if row["answer"] != "star"]
    others = [others[k * len(others) // 64] for k in range(64)] if len(others) > 64 else others
    where = (
        slice(None),
        slice(one["place"]["top"], one["place"]["bottom"]),
        slice(one["place"]["left"], one["place"]["right"]),
    )
    changed = 0
    for number, star in enumerate(stars):
        mixed = images[star].clone()
        mixed[where] = images[others[number % len(others)]][where]
        with torch.no_grad():
            changed += int(watermark(mixed[None]).argmax()) != watermark.classes.index("star")
    assert (len(stars), changed) == (one["tried"]["images"], one["tried"]["changed"])


def test_groups_that_point_at_the_same_place_are_tried_together(watermark: Model) -> None:
    run = summed(watermark, "sample:watermark:0-240", methods="occlusion", measures="none", parameters=COARSE)
    placed = [one for one in groups(run, "occlusion") if one["of"] == "star" and one["place"]]
    assert len(placed) > 1
    assert [bool(one["tried"]) for one in placed].count(True) == 1
    (first,) = [one for one in placed if one["tried"]]
    assert first["tried"]["images"] == sum(one["images"] for one in placed)
    for other in placed:
        if other is not first:
            assert f"the one that group {first['group'] + 1} points at" in other["untried"]
    assert run["occlusion"].values["places suspected"].value == 1


def test_a_network_that_looks_at_the_object_is_not_accused(shapes: Model) -> None:
    run = summed(shapes, "sample:shapes:0-132", methods="occlusion", measures="none", parameters=COARSE)
    assert run["occlusion"].values["places suspected"].value == 0
    assert not any("suspicion" in note for note in run["occlusion"].record.notes)


def test_centred_digits_are_not_accused(digits: Model) -> None:
    run = summed(digits, "sample:digits:0-300", methods=["gradcam", "occlusion"], measures="none")
    for method in ("gradcam", "occlusion"):
        assert run[method].values["places suspected"].value == 0


def test_rows_and_maps_are_those_of_single_explanations(shapes: Model) -> None:
    together = summed(shapes, IMAGES, methods="gradcam", measures=["deletion", "randomisation"])["gradcam"]
    single = explain(shapes, IMAGES, methods="gradcam", measures=["deletion", "randomisation"])
    maps = get(together.run.store, together.record.artefacts["maps"])
    assert maps.shape == (6, SIDE, SIDE)
    for row, one in zip(together.rows, single, strict=True):
        assert Path(row["id"]).stem == one.record.input
        assert np.array_equal(maps[row["map"]], shrunk(one.map))
        for trust in one.record.trust:
            said = row["measures"][trust.measure]
            assert said["speaks"] == trust.speaks
            assert said["values"] == {name: trust.values[name].value for name in list(trust.values)[:MAIN]}
        assert row["trust"] == trust_of(trust.speaks for trust in one.record.trust)


def test_values_follow_from_the_rows(judged: Run) -> None:
    found = judged["gradcam"]
    rows, values = found.rows, found.values
    assert differing(found.record, rows) == []
    said = [row["measures"]["deletion"]["speaks"] for row in rows]
    assert values["deletion speaks for"].value == said.count("for") / len(rows)
    assert values[TRUST].value == pytest.approx((said.count("for") - said.count("against")) / len(rows))
    stars = [row for row in rows if row["class"] == "star"]
    value = values["deletion is undecided, class star"]
    undecided = [row["measures"]["deletion"]["speaks"] == "neither" for row in stars]
    assert (value.value, value.n) == (np.mean(undecided), len(stars))
    assert values["accuracy"].value == np.mean([row["right"] for row in rows])
    assert {"deletion speaks for", TRUST, "accuracy"} <= derived(found.record, rows).keys()


def test_a_row_that_was_changed_is_noticed(judged: Run) -> None:
    rows = judged["gradcam"].rows
    rows[0]["measures"]["deletion"]["speaks"] = {"for": "against"}.get(rows[0]["measures"]["deletion"]["speaks"], "for")
    assert "deletion speaks for" in [name for name, *_ in differing(judged["gradcam"].record, rows)]


@pytest.mark.parametrize(
    ("said", "trust"),
    [(["for", "for"], 1.0), (["for", "against", "neither"], 0.0), (["against", "neither"], -0.5), ([], None)],
)
def test_trust_is_for_less_against_as_a_share_of_all_that_spoke(said: list[Any], trust: float | None) -> None:
    assert trust_of(said) == trust


def test_a_killed_run_goes_on_and_gives_the_same(shapes: Model, tmp_path: Path) -> None:
    data = open_data("sample:shapes:0-280", shapes)
    plan = plan_explain(shapes, ["gradcam"], measures_named=["none"])
    whole = summarise(shapes, data, plan)

    def stop(stage: str, done: int, total: int) -> None:
        if done >= 150:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        summarise(shapes, data, plan, runtime=Runtime(progress=stop), folder=tmp_path)
    assert len(list(tmp_path.glob("0*.json"))) == 1, "one shard of three is done, and none is half done"
    asked: list[int] = []
    again = summarise(shapes, data, plan, runtime=Runtime(progress=lambda *_: asked.append(1)), folder=tmp_path)
    assert untimed(again) == untimed(whole)


def test_images_do_not_stay_in_memory(shapes: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    alive: weakref.WeakSet[Any] = weakref.WeakSet()
    most = [0]
    read = DataSet.read_many

    def watched(self: DataSet, indices: Any) -> Shard:
        part = read(self, indices)
        for sample in part.samples:
            alive.add(sample)
        gc.collect()
        most[0] = max(most[0], len(alive))
        return part

    monkeypatch.setattr(DataSet, "read_many", watched)
    summed(shapes, "sample:shapes:0-400", methods="gradcam", measures="none")
    assert most[0] <= 2 * shard_size(shapes) < 400


def test_images_without_labels_are_told_by_their_answers(shapes: Model) -> None:
    images, _ = open_data("sample:shapes:0-12", shapes).content.many(range(12), shapes.input) or (None, None)
    assert images is not None
    run = summed(shapes, (images.tensor, None), methods="gradcam", measures="deletion")
    rows, record = run["gradcam"].rows, run["gradcam"].record
    assert all(row["right"] is None and row["label"] is None and row["class"] == row["answer"] for row in rows)
    assert "accuracy" not in record.values
    assert record.parameters["labels"] == "none for 12 of 12"
    assert any(note.startswith("images without a label: 12 of 12") for note in run.record.notes)


def test_one_image(shapes: Model) -> None:
    run = summed(shapes, IMAGES / "star.png", methods="gradcam", measures="deletion")
    (row,) = run["gradcam"].rows
    assert row["answer"] == "star"
    (only,) = groups(run, "gradcam")
    assert (only["of"], only["images"], only["examples"]) == ("star", 1, [row["id"]])


def test_what_a_method_says_of_single_maps_is_told(shapes: Model) -> None:
    few = {"integratedgradients": {"most_steps": 16, "error": 1e-6}}
    run = summed(shapes, IMAGES, methods=["integratedgradients", "eigencam"], measures="deletion", parameters=few)
    (note,) = [one for one in run["integratedgradients"].record.notes if "have a note of this kind" in one]
    rows = run["integratedgradients"].rows
    held = [row for row in rows if row["notes"]]
    assert note == f"{len(held)} of 6 maps have a note of this kind; the first, {held[0]['id']}: {held[0]['notes'][0]}"
    assert "attributions still miss" in note
    (same,) = [one for one in run["eigencam"].record.notes if "same for every target" in one]
    assert same.startswith("6 of 6 maps have a note of this kind"), "classes differ, and it is one note"


def test_all_images_can_be_asked_why_not_another_class(shapes: Model) -> None:
    run = summed(shapes, "sample:shapes:0-24", methods="gradcam", measures="none", against="ring")
    finding, rows = run["gradcam"].record, run["gradcam"].rows
    assert finding.parameters["target"] == "the answer of each image rather than ring"
    assert "Each map is of the answer of each image rather than ring" in words(render(run).html)
    rings = [row for row in rows if row["answer"] == "ring"]
    assert 0 < len(rings) < 24
    for row in rows:
        assert row["explains"] == f"{row['answer']} rather than ring"
        assert row["status"] == ("skipped" if row in rings else "ok")
    assert any("ring itself, and nothing stands against that" in note for note in finding.notes)
    told = {one["of"] for one in groups(run, "gradcam")}
    assert told == {"", *(row["answer"] for row in rows if row not in rings)}, "groups of each answer, as without"
    number = next(n for n, row in enumerate(rows) if row["answer"] != "ring")
    image = open_data("sample:shapes:0-24", shapes).read(number).input
    alone = explain(shapes, image, methods="gradcam", measures="none", against="ring")["gradcam"]
    small = get(run.store, finding.artefacts["maps"])[rows[number]["map"]]
    np.testing.assert_allclose(small, shrunk(alone.map), atol=1e-6)


def test_one_class_leaves_nothing_to_exchange_with(watermark: Model) -> None:
    images, labels = held_out(0, 120)
    stars = marked(images[labels == 5])
    run = summed(watermark, (stars, None), methods="occlusion", measures="none", parameters=COARSE)
    told = groups(run, "occlusion")
    assert {one["of"] for one in told} == {"star"}
    placed = [one for one in told if one["place"]]
    assert placed
    assert all(one["tried"] is None and "of other answers are needed" in one["untried"] for one in placed)
    assert any("of which none was tried" in note for note in run["occlusion"].record.notes)
    assert run["occlusion"].values["places suspected"].value == 0


def test_blank_maps_are_counted_and_are_in_no_group() -> None:
    model = load(Flat(), shape=(3, 8, 8), classes=("a", "b", "c"))
    run = summed(model, torch.rand(5, 3, 8, 8), methods="occlusion", measures="deletion")
    values = run["occlusion"].values
    assert (values["blank maps"].value, values["maps"].value, values["groups"].value) == (5, 0, 0)
    assert TRUST not in values
    assert all(row["blank"] and row["map"] is None and row["trust"] is None for row in run["occlusion"].rows)
    assert get(run.store, run["occlusion"].record.artefacts["maps"]).shape == (0, 8, 8)


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every measure break at the third map."""
    measure, calls = Measure.measure, iter(range(10**6))

    def breaking(self: Measure, subject: Subject, runtime: Runtime) -> Judgement:
        if next(calls) == 2:
            raise AnalysisError("it broke")
        return measure(self, subject, runtime)

    monkeypatch.setattr(Measure, "measure", breaking)


@pytest.mark.usefixtures("broken")
def test_a_measure_that_breaks_on_one_image_is_told_of_that_image(shapes: Model) -> None:
    found = summed(shapes, IMAGES, methods="gradcam", measures="deletion")["gradcam"]
    states = [row["measures"]["deletion"]["status"] for row in found.rows]
    assert states == ["ok", "ok", "failed", "ok", "ok", "ok"]
    assert found.record.status == "ok"
    assert found.values["deletion speaks for"].n == 5
    assert f"deletion failed on 1 of 6 images; the first, {found.rows[2]['id']}: it broke" in found.record.notes


def test_methods_without_a_map_are_skipped_and_refused_alone(shapes: Model) -> None:
    run = summed(shapes, IMAGES, methods=["gradcam", "deepdream"], measures="none")
    assert run["deepdream"].record.status == "skipped"
    assert "no map of each image" in run["deepdream"].record.reason
    with pytest.raises(UsageError, match="none of the methods gives a map"):
        summed(shapes, IMAGES, methods="deepdream")


def test_what_does_not_fit_a_summary_is_refused(shapes: Model) -> None:
    with pytest.raises(UsageError, match="explains one output of each image"):
        summed(shapes, IMAGES, top=2)
    with pytest.raises(UsageError, match="masks was given with a summary"):
        summed(shapes, IMAGES, masks=IMAGES.parent / "masks")
    with pytest.raises(UsageError, match="limit was given without summary"):
        explain(shapes, IMAGES, limit=2)
    values = load(Flat(), shape=(3, 8, 8), output="values")
    with pytest.raises(UsageError, match="a summary is of a classifier"):
        summed(values, torch.rand(2, 3, 8, 8))


def test_a_target_is_explained_of_every_image(shapes: Model) -> None:
    found = summed(shapes, IMAGES, methods="gradcam", measures="none", target="star")["gradcam"]
    assert {row["explains"] for row in found.rows} == {"star"}
    assert found.record.parameters["target"] == "star"
    told = groups(found.run, "gradcam")  # type: ignore[arg-type]
    assert [(one["of"], one["images"]) for one in told if one["of"]] == [("star", 1)]


def test_kept_shards_of_another_request_are_refused(shapes: Model, tmp_path: Path) -> None:
    data = open_data(IMAGES, shapes)
    summarise(shapes, data, plan_explain(shapes, ["gradcam"], measures_named=["none"]), folder=tmp_path)
    with pytest.raises(UsageError, match="the beginning of another run"):
        summarise(shapes, data, plan_explain(shapes, ["occlusion"], measures_named=["none"]), folder=tmp_path)
