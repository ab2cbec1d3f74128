"""Inputs beside a data set: neighbours and exemplars are those of brute force, and what is not known is said."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.neighbors import NearestNeighbors
from torch import nn

from tests.conftest import IMAGES
from tests.networks import Branching, Mlp, Small, seeded
from tests.reports.test_page import HOSTILE, Checker
from tests.reports.test_renderings import words
from xai.api import explain, features, load
from xai.data.dataset import open_data
from xai.data.samples import read_samples
from xai.engine.explain import explain as run_explain
from xai.engine.plan import plan_explain
from xai.engine.reference import reading
from xai.engine.reference.reading import Eye, Reading, Top
from xai.engine.reference.run import Reference, Sought
from xai.errors import UsageError
from xai.models.model import Model
from xai.reports.artefacts import get, get_rows
from xai.reports.check import check
from xai.reports.html.page import render
from xai.reports.run import Found, Run
from xai.reports.table import rows as table_rows

COUNT = 150


@pytest.fixture(scope="module")
def inputs() -> torch.Tensor:
    return torch.rand((COUNT, 3, 16, 16), generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 4, COUNT)


def beside(model: Model, x: Any, reference: Any, **options: Any) -> Run:
    return explain(model, x, methods="gradcam", measures="none", reference=reference, **options)


def found(run: Run, family: str = "neighbours") -> Found:
    return run[family] if family == "exemplars" else run[family, "image"]


def entries(one: Found) -> list[int]:
    return [row["entry"] for row in one.rows]


def cosines(model: Model, x: torch.Tensor) -> np.ndarray:
    """Return features (n, d) at length one, the plain way."""
    held = features(model, x)[0].astype(np.float64)
    return held / np.linalg.norm(held, axis=1, keepdims=True)


def nearest_others(model: Model, x: torch.Tensor) -> np.ndarray:
    """Return how alike the nearest other of each input is (n,), by all pairs."""
    rows = cosines(model, x)
    among = rows @ rows.T
    np.fill_diagonal(among, -np.inf)
    highest: np.ndarray = among.max(axis=1)
    return highest


def test_neighbours_are_those_of_brute_force(
    small: Model, noise: torch.Tensor, inputs: torch.Tensor, labels: np.ndarray
) -> None:
    one = found(beside(small, noise, (inputs, labels)))
    held = features(small, inputs)[0]
    theirs = NearestNeighbors(n_neighbors=5, metric="cosine", algorithm="brute").fit(held.astype(np.float64))
    far, places = theirs.kneighbors(features(small, noise[None])[0].astype(np.float64))
    assert entries(one) == places[0].tolist()
    np.testing.assert_allclose([row["alike"] for row in one.rows], 1 - far[0], atol=1e-6)
    answer = small(noise[None]).argmax().item()
    assert one.values["carry the answer"].value == (labels[places[0]] == answer).sum()
    assert (one.values["carry the answer"].n, one.values["by chance"].n) == (5, COUNT)
    assert one.values["by chance"].value == pytest.approx((labels == answer).mean())
    predicted = small(inputs).argmax(1)
    assert [row["answer"] for row in one.rows] == [small.answers[predicted[place]] for place in places[0]]
    assert [row["label"] for row in one.rows] == [small.answers[labels[place]] for place in places[0]]


def test_how_far_is_usual_is_measured_on_the_reference_itself(
    small: Model, noise: torch.Tensor, inputs: torch.Tensor
) -> None:
    one = found(beside(small, noise, inputs))
    nearest = (cosines(small, inputs) @ cosines(small, noise[None])[0]).max()
    own, expected = (
        get(one.run.store, one.record.artefacts["nearest among the reference"]),
        nearest_others(small, inputs),
    )
    np.testing.assert_allclose(own, expected, atol=1e-6)
    assert one.values["nearest other"].value == pytest.approx(nearest, abs=1e-6)
    assert one.values["as far"].value == pytest.approx((expected <= nearest).mean(), abs=1 / COUNT)
    assert one.values["unusual"].value == (one.values["as far"].value <= 0.05)
    stranger = found(beside(small, torch.zeros(3, 16, 16), inputs))
    assert stranger.values["as far"].value == 0
    assert "unusually far: 0 % of the 150 entries" in str(stranger.values["said"].value)


def test_an_input_that_is_in_the_reference_finds_itself_and_is_measured_by_others(
    small: Model, inputs: torch.Tensor, labels: np.ndarray
) -> None:
    twice = torch.cat([inputs, inputs[7:8]])
    one = found(beside(small, inputs[7], (twice, np.append(labels, labels[7]))))
    assert entries(one)[:2] == [7, COUNT]
    assert [row["same"] for row in one.rows] == [True, True, False, False, False]
    assert one.values["nearest"].value == pytest.approx(1, abs=1e-6)
    assert one.values["same picture"].value == 2
    assert one.values["nearest other"].value == pytest.approx(one.rows[2]["alike"], abs=1e-6)
    (note,) = one.record.notes
    assert note.startswith("2 entries of the reference are this very picture: ")
    own = get(one.run.store, one.record.artefacts["nearest among the reference"])
    assert len(own) == COUNT - 1, "it is not compared with itself"
    np.testing.assert_allclose(own, np.delete(nearest_others(small, inputs), 7), atol=1e-6)
    assert words(render(one.run).html).count("(this very picture)") == 2


def test_a_reference_of_one_picture_alone_has_nothing_to_compare(small: Model, inputs: torch.Tensor) -> None:
    one = found(beside(small, inputs[0], inputs[:1]))
    assert entries(one) == [0]
    assert (one.values["as far"].value, one.values["nearest other"].value) == (None, None)
    assert one.values["as far"].reason == "there are not two other pictures"


def test_exemplars_are_the_highest_of_all_activations(small: Model, noise: torch.Tensor, inputs: torch.Tensor) -> None:
    one = found(beside(small, noise, inputs), "exemplars")
    layer = small.spatial_layer
    with torch.no_grad():
        mine, theirs = (
            layer.by_channel(small.activation(x, layer)).mean((2, 3)).double().numpy() for x in (noise[None], inputs)
        )
    chosen = np.argsort(-mine[0], kind="stable")[:4]
    assert list(dict.fromkeys(row["channel"] for row in one.rows)) == chosen.tolist()
    for channel in chosen:
        told = [row for row in one.rows if row["channel"] == channel]
        assert [row["entry"] for row in told] == np.argsort(-theirs[:, channel], kind="stable")[:4].tolist()
        np.testing.assert_allclose([row["mean"] for row in told], np.sort(theirs[:, channel])[::-1][:4], atol=1e-6)
        assert one.values[f"channel {channel}, highest"].value == told[0]["mean"]
    told = list(get_rows(one.run.store, one.record.artefacts["channels"]))
    assert told[0]["inputs"] == {"image": pytest.approx(mine[0].max(), abs=1e-6)}


def test_channels_that_inputs_share_are_told_once(small: Model, inputs: torch.Tensor) -> None:
    run = beside(small, [inputs[0], inputs[0], inputs[1]], inputs)
    one = run["exemplars"]
    told = list(get_rows(run.store, one.record.artefacts["channels"]))
    numbers = [channel["channel"] for channel in told]
    assert len(numbers) == len(set(numbers)) == one.values["channels"].value
    shared = [channel for channel in told if {"image", "image-2"} <= channel["inputs"].keys()]
    assert len(shared) == 4
    assert [finding.family for finding in run.findings].count("exemplars") == 1


def test_another_layer_can_be_looked_at(small: Model, noise: torch.Tensor, inputs: torch.Tensor) -> None:
    one = found(beside(small, noise, inputs, layer="stem"), "exemplars")
    assert one.record.parameters["layer"] == "stem"
    assert beside(small, noise, inputs)["neighbours"].record.parameters["layer"] != "stem"


def test_the_order_of_the_data_does_not_matter(
    small: Model, noise: torch.Tensor, inputs: torch.Tensor, labels: np.ndarray
) -> None:
    order = np.random.default_rng(3).permutation(COUNT)
    forth, back = (
        beside(small, noise, reference)
        for reference in ((inputs, labels), (inputs[torch.from_numpy(order)], labels[order]))
    )
    for family in ("neighbours", "exemplars"):
        assert entries(found(forth, family)) == [int(order[place]) for place in entries(found(back, family))]
    one, other = (found(run).values for run in (forth, back))
    for name in ("nearest", "as far", "carry the answer", "by chance"):
        assert one[name].value == pytest.approx(other[name].value, abs=1e-6)


def test_of_equal_values_the_first_stays_however_they_come() -> None:
    values = torch.tensor([[1.0, 3.0, 3.0, 2.0, 3.0, 0.0]])
    for size in (1, 2, 6):
        top = Top(1, 3)
        for place in range(0, 6, size):
            top.add(values[:, place : place + size], torch.arange(place, place + size))
        assert top.places.tolist() == [[1, 2, 4]]
        assert top.values.shape == (1, 3), "no more than that is ever kept"


def test_data_without_labels_are_told_without_them(small: Model, noise: torch.Tensor, inputs: torch.Tensor) -> None:
    run = beside(small, noise, inputs)
    value = found(run).values["carry the answer"]
    assert (value.value, value.reason) == (None, "the reference has no labels")
    assert "the reference has no labels" in words(render(run).html)
    assert "by chance" not in found(run).values


def test_labels_that_only_some_entries_have_are_counted_as_such(tmp_path: Path, small: Model) -> None:
    lines = ["path,label"]
    for number in range(6):
        pixels = np.random.default_rng(number).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,{'' if number < 4 else small.answers[number - 4]}")
    (tmp_path / "data.csv").write_text("\n".join(lines))
    one = beside(small, tmp_path / "0.png", tmp_path / "data.csv")["neighbours"]
    known = [row for row in one.rows if row["label"] is not None]
    assert (one.values["carry the answer"].n, one.values["by chance"].n) == (len(known), 2)


def test_entries_that_cannot_be_read_are_told(tmp_path: Path, small: Model, noise: torch.Tensor) -> None:
    for number in range(3):
        Image.new("RGB", (16, 16), (90 * number, 0, 50)).save(tmp_path / f"{number}.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    run = beside(small, noise, tmp_path)
    for family in ("neighbours", "exemplars"):
        (note,) = found(run, family).record.notes
        assert note.startswith("1 of 4 entries could not be read; the first, broken")
        assert found(run, family).record.parameters["entries read"] == 3
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(b"no picture")
    none = beside(small, noise, tmp_path)
    assert {one.record.status for one in none if one.record.family in ("neighbours", "exemplars")} == {"failed"}
    assert none["gradcam"].record.status == "ok", "what was explained is kept"


def test_entries_without_numbers_are_left_out(noise: torch.Tensor, inputs: torch.Tensor) -> None:
    class Fragile(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = seeded(Small)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(x / (x.amax((1, 2, 3), keepdim=True)))

    data = inputs[:20].clone()
    data[3] = 0
    one = found(beside(load(Fragile(), shape=(3, 16, 16)), noise, data))
    assert one.record.notes == ("Entries left out, since the network gives NaN or infinite values for them: 1.",)
    assert one.record.parameters["entries read"] == 19


def test_a_black_box_is_skipped_with_the_reason(inputs: torch.Tensor) -> None:
    model = load(Branching(), shape=(3, 12, 10))
    x = torch.full((3, 12, 10), 0.5)
    run = explain(model, x, methods="occlusion", measures="none", reference=x[None])
    for family in ("neighbours", "exemplars"):
        record = found(run, family).record
        assert record.status == "skipped"
        assert record.reason.startswith("the model is a black box: ")
    assert "was skipped: the model is a black box" in words(render(run).html)


def test_a_network_without_rows_and_columns_has_neighbours_and_no_exemplars() -> None:
    model = load(seeded(Mlp), shape=(3, 12, 10))
    data = torch.rand((30, 3, 12, 10), generator=torch.Generator().manual_seed(0))
    run = explain(model, data[4], methods="occlusion", measures="none", reference=data)
    assert entries(found(run))[0] == 4
    assert found(run, "exemplars").record.status == "skipped"
    assert found(run, "exemplars").record.reason


def test_one_output_has_two_answers_and_values_have_none(inputs: torch.Tensor) -> None:
    network = seeded(lambda: Small(classes=1))
    model = load(network, shape=(3, 16, 16), classes=("sick",), output="logits")
    signs = (model(inputs)[:, 0] > 0).long()
    one = found(beside(model, inputs[0], (inputs, signs.numpy())))
    assert one.values["carry the answer"].n == 5
    assert one.values["by chance"].value == pytest.approx(float((signs == signs[0]).double().mean()))
    assert [row["answer"] for row in one.rows] == [row["label"] for row in one.rows]
    plain = load(seeded(Small), shape=(3, 16, 16), output="values")
    values = found(beside(plain, inputs[0], inputs)).values
    assert values["carry the answer"].reason == "the model's outputs are no classes"


def test_the_data_are_read_once_and_no_more_than_so_many_features_are_kept(
    small: Model, noise: torch.Tensor, inputs: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = found(beside(small, noise, inputs))
    looked: list[int] = []
    see = Eye.see

    def counted(self: Eye, x: torch.Tensor) -> Any:
        looked.append(len(x))
        return see(self, x)

    monkeypatch.setattr(Eye, "see", counted)
    monkeypatch.setattr(reading, "MOST", 40)
    one = found(beside(small, noise, inputs))
    assert sum(looked) == COUNT + 1, "both findings come of one pass"
    assert max(looked) <= 64
    own = get(one.run.store, one.record.artefacts["nearest among the reference"])
    assert len(own) == one.values["as far"].n == 40
    assert entries(one) == entries(whole), "neighbours are looked for among all"
    assert one.values["nearest other"].value <= whole.values["nearest other"].value


def test_kept_entries_are_spread_evenly() -> None:
    spread = Reading._is_kept

    class Large:
        data = range(25_000)

    kept = spread(Large(), torch.arange(25_000))  # type: ignore[arg-type]
    assert int(kept.sum()) == reading.MOST
    parts = kept.reshape(5, -1).sum(1)
    assert (parts - 2000).abs().max() <= 1
    Large.data = range(300)
    assert bool(spread(Large(), torch.arange(300)).all())  # type: ignore[arg-type]


def test_how_many_are_shown_can_be_chosen(small: Model, noise: torch.Tensor, inputs: torch.Tensor) -> None:
    asked = Reference(open_data(inputs, small), sought=Sought(neighbours=3, count=2, exemplars=1))
    plan = plan_explain(small, ["gradcam"], measures_named=["none"])
    run = run_explain(small, read_samples(noise, small), plan, reference=asked)
    assert len(found(run).rows) == 3
    assert len(found(run, "exemplars").rows) == 2


def test_channels_can_be_named(small: Model, inputs: torch.Tensor) -> None:
    layer = small.spatial_layer
    run = beside(small, inputs[0], inputs, parameters={"reference": {"channels": [5, 1], "exemplars": 3}})
    told = list(get_rows(run.store, run["exemplars"].record.artefacts["channels"]))
    assert [one["channel"] for one in told] == [5, 1]
    means = small.activation(inputs, layer).mean((2, 3))
    for channel in (5, 1):
        shown = [row for row in run["exemplars"].rows if row["channel"] == channel]
        assert [row["entry"] for row in shown] == means[:, channel].topk(3).indices.tolist()
        (own,) = next(one for one in told if one["channel"] == channel)["inputs"].values()
        assert own == pytest.approx(float(means[0, channel]), abs=1e-6)
    assert run["exemplars"].record.parameters["channels named"] == "5,1"
    assert "Mean activation for image" in words(render(run).html)


@pytest.mark.parametrize(
    ("sought", "said"),
    [
        ({"channels": "1,x"}, "expected numbers from 0, such as 3,7,12, received '1,x'"),
        ({"channels": 999}, "reference.channels is 999; layer"),
        ({"channels": "1", "count": 2}, "name the channels, or how many"),
        ({"neighbours": 0}, "parameters of reference do not fit: neighbours"),
        ({"neighbors": 3}, "did you mean 'neighbours'"),
    ],
)
def test_what_is_sought_must_exist(small: Model, inputs: torch.Tensor, sought: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        beside(small, inputs[0], inputs, parameters={"reference": sought})


def test_channels_that_were_named_are_skipped_where_no_layer_has_any() -> None:
    model, x = load(seeded(Mlp), shape=(3, 12, 10)), torch.rand(5, 3, 12, 10)
    run = explain(
        model, x[0], methods="saliency", measures="none", reference=x, parameters={"reference": {"channels": [1]}}
    )
    assert [finding.status for finding in run.findings] == ["ok", "ok", "skipped"]
    assert "rows and columns" in run["exemplars"].record.reason
    assert run["exemplars"].record.parameters["channels named"] == "1"


def test_nothing_is_sought_without_a_reference(small: Model, inputs: torch.Tensor) -> None:
    with pytest.raises(UsageError, match="without the reference"):
        beside(small, inputs[0], None, parameters={"reference": {"exemplars": 3}})


def test_the_report_tells_it_with_pictures_and_without(small: Model, inputs: torch.Tensor, tmp_path: Path) -> None:
    names = (HOSTILE, "b", "c", "d")
    model = load(seeded(Small), shape=(3, 16, 16), classes=names)
    run = beside(model, [inputs[0], inputs[1]], (inputs, np.arange(COUNT) % 4))
    page = render(run).html
    checker = Checker(page)
    assert checker.stack == []
    assert "<script" not in page
    assert all("alt" in attrs for tag, attrs in checker.tags if tag == "img")
    texts = [str(attrs["alt"]) for tag, attrs in checker.tags if tag == "img"]
    for row in run["neighbours", "image"].rows:
        assert any(row["id"] in text and f"cosine {row['alike']:.4f}" in text for text in texts)
    for row in run["exemplars"].rows:
        assert f"mean activation of channel {row['channel']} {row['mean']:.4g}" in page
    assert "does not mean that it made the model answer so" in words(page)
    assert [len(run[key].show().axes) for key in (("neighbours", "image"), "exemplars")] == [1, 1]
    run.save(tmp_path / "run")
    assert check(tmp_path / "run").complaints == ()
    assert {row["method"] for row in table_rows(run)} == {"gradcam", "neighbours", "exemplars"}


def test_wrong_references_are_told_before_anything_is_computed(
    small: Model, noise: torch.Tensor, inputs: torch.Tensor
) -> None:
    with pytest.raises(UsageError, match="name its data too"):
        explain(small, noise, reference_labels="labels.npy")
    with pytest.raises(UsageError, match="nowhere"):
        explain(small, noise, reference="nowhere")
    with pytest.raises(UsageError, match="reference was given with a summary, which does not take it"):
        explain(small, inputs, summary=True, reference=inputs)


def test_a_bundled_sample_can_be_the_reference(shapes: Model) -> None:
    run = explain(shapes, IMAGES / "star.png", methods="gradcam", measures="none", reference="sample:shapes:0-60")
    one = run["neighbours"]
    assert one.values["carry the answer"].n == 5
    assert one.record.parameters["reference"] == "sample:shapes:0-60"
    assert run.record.command.count("reference='sample:shapes:0-60'") == 1
