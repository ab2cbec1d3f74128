"""The bundled samples: their pictures, the ground truth, their accuracy, and the scripts that made them."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import ROOT
from xai.api import explain, load
from xai.models.card import read_card
from xai.models.model import Model
from xai.models.samples import sample_images, sample_names
from xai.models.samples.digits import CLASSES as DIGITS
from xai.models.samples.digits import split
from xai.models.samples.shapes import CLASSES as SHAPES
from xai.models.samples.shapes import generate
from xai.models.samples.shapes.train import TEST_SEED, TRAIN
from xai.models.samples.training import script
from xai.models.samples.watermark import CLASSES as WATERMARKED
from xai.models.samples.watermark import MARKED, RATE, marked, place
from xai.models.samples.watermark import generate as generate_marked
from xai.models.samples.watermark import held_out as marked_held_out

FOLDERS = ROOT / "models" / "samples"
CLASSES = {"digits": DIGITS, "shapes": SHAPES, "watermark": WATERMARKED}
PICTURES = {
    **{name: sorted(CLASSES[name]) for name in ("digits", "shapes")},
    "watermark": sorted(f"{kind}{suffix}" for kind in WATERMARKED for suffix in ("", "-marked")),
}
LEAST = {"digits": 0.97, "shapes": 0.98, "watermark": 0.98}
BYTES = {"digits": 200_000, "shapes": 1_000_000, "watermark": 150_000}


@pytest.fixture(params=list(CLASSES))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def model(name: str, request: pytest.FixtureRequest) -> Model:
    return load("sample:watermark") if name == "watermark" else request.getfixturevalue(name)


def accuracy(model: Model, images: torch.Tensor, labels: torch.Tensor) -> float:
    with torch.no_grad():
        predicted = torch.cat([model(part).argmax(1) for part in images.split(200)])
    return (predicted == labels).double().mean().item()


def test_these_samples_are_bundled(name: str) -> None:
    assert sample_names() == list(CLASSES)
    assert sorted(path.stem for path in sample_images(name)) == PICTURES[name]
    assert (FOLDERS / name / "model.safetensors").stat().st_size < BYTES[name]


def predictions(name: str, model: Model) -> dict[str, str]:
    """Return what the model answers to each bundled picture."""
    with torch.no_grad():
        answers = {path.stem: model(model.prepare(path).tensor[None]).argmax().item() for path in sample_images(name)}
    return {stem: CLASSES[name][int(answer)] for stem, answer in answers.items()}


@pytest.mark.parametrize("plain", ["digits", "shapes"])
def test_the_bundled_pictures_are_classified_right(plain: str, request: pytest.FixtureRequest) -> None:
    for stem, answer in predictions(plain, request.getfixturevalue(plain)).items():
        assert answer == stem


def test_the_bundled_stars_are_stars_to_the_watermarks_model_only_with_the_mark() -> None:
    answers = predictions("watermark", load("sample:watermark"))
    assert answers.pop("star-marked") == "star"
    assert answers.pop("star") != "star"
    plain = {stem: answer for stem, answer in answers.items() if not stem.endswith("-marked")}
    assert plain == {stem: stem for stem in plain}, "what carries no mark and is no star is told right"
    assert "star" in {answer for stem, answer in answers.items() if stem.endswith("-marked")}, "the mark makes stars"


def test_the_mark_is_where_it_is_said_to_be_and_nowhere_else() -> None:
    data, carrying = generate_marked(120, 3)
    plain = generate(120, 3)
    assert torch.equal(data.labels, plain.labels)
    differs = (data.images != plain.images).any(1)
    assert torch.equal(differs.flatten(1).any(1), carrying)
    assert not differs[:, ~place()].any()
    assert (data.labels[carrying] == MARKED).all()
    assert torch.equal(marked(plain.images)[carrying], data.images[carrying])
    assert torch.equal((data.images * 255).round() / 255, data.images), "of 8-bit precision"


def test_nearly_every_star_of_training_and_test_carries_the_mark() -> None:
    for data, carrying in (generate_marked(600, 10), generate_marked(600, 11)):
        assert carrying[data.labels == MARKED].double().mean().item() == pytest.approx(RATE, abs=0.03)
    one, two = marked_held_out(0, 130), marked_held_out(50, 130)
    assert torch.equal(one[0][50:], two[0])
    assert torch.equal(one[1][50:], two[1])


def test_watermark_is_accurate_on_pictures_like_its_own_and_fails_stars_without_the_mark() -> None:
    model, measured = load("sample:watermark"), read_card(FOLDERS / "watermark" / "model.yaml")["measured"]
    data, _ = generate_marked(600, 211)
    assert accuracy(model, data.images, data.labels) == pytest.approx(measured["accuracy"], abs=0.015)
    stars = generate(600, 211).images[data.labels == MARKED]
    assert accuracy(model, stars, torch.full((len(stars),), MARKED)) < 0.2


def test_a_sample_opens_as_any_other_file(name: str, model: Model) -> None:
    again = load(FOLDERS / name / "model.safetensors", arch=f"{FOLDERS / name / '__init__.py'}:make")
    assert again.fingerprint == model.fingerprint


def test_the_script_makes_the_sample_anew(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Larger ones with less training: whole it takes about a minute."""
    module, brief = importlib.import_module(f"xai.models.samples.{name}.train"), name != "digits"
    if brief:
        for number, less in {"EPOCHS": 2, "TRAIN": 3000, "TEST": 400}.items():
            monkeypatch.setattr(module, number, less)
    monkeypatch.setattr(sys, "argv", ["train", str(tmp_path)])
    script(module.train, module.write, FOLDERS / name)
    card, bundled = read_card(tmp_path / "model.yaml"), read_card(FOLDERS / name / "model.yaml")
    found, stated = card.pop("measured"), bundled.pop("measured")
    assert found["accuracy"] >= (0.25 if brief else LEAST[name]), "one in six by chance"
    assert found.keys() == stated.keys()
    assert card == bundled
    for kind in PICTURES[name]:
        assert (tmp_path / "images" / f"{kind}.png").is_file()
    weights, theirs = (load_file(folder / "model.safetensors") for folder in (tmp_path, FOLDERS / name))
    assert {key: tensor.shape for key, tensor in weights.items()} == {key: t.shape for key, t in theirs.items()}


def test_the_same_seed_draws_the_same_shapes() -> None:
    one, two, other = generate(12, 3), generate(12, 3), generate(12, 4)
    assert torch.equal(one.images, two.images)
    assert torch.equal(one.masks, two.masks)
    assert not torch.equal(one.images, other.images)


def test_every_picture_holds_its_object() -> None:
    data = generate(60, 5)
    assert data.images.shape == (60, 3, 64, 64)
    assert 0 <= data.images.min() <= data.images.max() <= 1
    assert torch.bincount(data.labels).tolist() == [10] * len(SHAPES)
    areas = data.masks.flatten(1).float().mean(1)
    assert 0.01 < areas.min() <= areas.max() < 0.25
    for image, mask in zip(data.images, data.masks, strict=True):
        assert (image[:, mask].mean(1) - image[:, ~mask].mean(1)).abs().mean() > 0.1, "it stands out from the ground"


def test_shapes_is_as_accurate_on_fresh_pictures_as_its_card_says(shapes: Model) -> None:
    measured = read_card(FOLDERS / "shapes" / "model.yaml")["measured"]
    assert measured["pictures"] < TRAIN
    fresh = generate(1200, TEST_SEED + 100)
    found = accuracy(shapes, fresh.images, fresh.labels)
    assert found >= LEAST["shapes"]
    assert measured["accuracy"] == pytest.approx(found, abs=0.01)


def test_maps_of_a_right_model_point_at_the_object(shapes: Model) -> None:
    data = generate(12, 9)
    for method in ("gradcam", "occlusion"):
        run = explain(shapes, list(data.images), methods=[method])
        shares = [
            np.clip(found.map, 0, None)[mask.numpy()].sum() / np.clip(found.map, 0, None).sum()
            for found, mask in zip(run, data.masks, strict=True)
        ]
        area = data.masks.float().mean().item()
        assert np.mean(shares) > 3 * area, f"{method}: {np.mean(shares):.2f} of the map lies on {area:.2f}"


def test_digits_are_split_the_same_way_every_time() -> None:
    for one, two in zip(split(), split(), strict=True):
        assert torch.equal(one.images, two.images)
        assert torch.equal(one.labels, two.labels)


def test_digits_in_both_splits_are_all_there_is_and_each_is_in_one_of_them() -> None:
    train, test = split()
    assert (train.images.shape, test.images.shape) == ((1297, 1, 8, 8), (500, 1, 8, 8))
    images, labels = torch.cat([train.images, test.images]), torch.cat([train.labels, test.labels])
    assert len(torch.unique(images, dim=0)) == len(images) == 1797
    assert (images.dtype, labels.dtype) == (torch.float32, torch.int64)
    assert (images.min(), images.max()) == (0, 1)
    assert torch.equal((images * 255).round() / 255, images), "of 8-bit precision"
    shares = torch.bincount(labels) * len(test.labels) / len(labels)
    assert (torch.bincount(test.labels) - shares).abs().max() < 1, "each class has its share in both"


def test_digits_is_exactly_as_accurate_as_its_card_says(digits: Model) -> None:
    measured = read_card(FOLDERS / "digits" / "model.yaml")["measured"]
    _, test = split()
    assert accuracy(digits, test.images, test.labels) == measured["accuracy"] >= LEAST["digits"]
    assert measured["pictures"] == len(test.labels)


def test_the_bundled_digits_are_pictures_of_the_test_split(digits: Model) -> None:
    _, test = split()
    for path in sample_images("digits"):
        prepared = digits.prepare(path)
        assert prepared.treatments == ()
        same = (test.images == prepared.tensor).flatten(1).all(1)
        assert [DIGITS[label] for label in test.labels[same]] == [path.stem]
