"""The bundled sample: its pictures, its ground truth, its accuracy, and the script that made it."""

from __future__ import annotations

import subprocess
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
from xai.models.samples.shapes import CLASSES, generate
from xai.models.samples.shapes.train import TEST_SEED, TRAIN

FOLDER = ROOT / "models" / "samples" / "shapes"


def test_the_same_seed_draws_the_same_pictures() -> None:
    one, two, other = generate(12, 3), generate(12, 3), generate(12, 4)
    assert torch.equal(one.images, two.images)
    assert torch.equal(one.masks, two.masks)
    assert not torch.equal(one.images, other.images)


def test_every_picture_holds_its_object() -> None:
    data = generate(60, 5)
    assert data.images.shape == (60, 3, 64, 64)
    assert 0 <= data.images.min() <= data.images.max() <= 1
    assert torch.bincount(data.labels).tolist() == [10] * len(CLASSES)
    areas = data.masks.flatten(1).float().mean(1)
    assert 0.01 < areas.min() <= areas.max() < 0.25
    for image, mask in zip(data.images, data.masks, strict=True):
        assert (image[:, mask].mean(1) - image[:, ~mask].mean(1)).abs().mean() > 0.1, "it stands out from the ground"


def test_the_bundled_weights_are_as_accurate_as_their_card_says(shapes: Model) -> None:
    card = read_card(FOLDER / "model.yaml")
    fresh = generate(1200, TEST_SEED + 100)
    with torch.no_grad():
        predicted = torch.cat([shapes(images).argmax(1) for images in fresh.images.split(200)])
    measured = float((predicted == fresh.labels).double().mean())
    assert measured >= 0.98
    assert card["measured"]["accuracy"] == pytest.approx(measured, abs=0.01)
    assert (FOLDER / "model.safetensors").stat().st_size < 1_000_000


def test_the_script_makes_the_sample_anew(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "xai.models.samples.shapes.train", str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    card = read_card(tmp_path / "model.yaml")
    assert card["measured"]["accuracy"] >= 0.98
    assert card["measured"]["pictures"] < TRAIN
    for name in CLASSES:
        assert (tmp_path / "images" / f"{name}.png").is_file()
    made, bundled = load_file(tmp_path / "model.safetensors"), load_file(FOLDER / "model.safetensors")
    assert {name: tensor.shape for name, tensor in made.items()} == {n: t.shape for n, t in bundled.items()}


def test_the_bundled_pictures_are_the_generators(shapes: Model) -> None:
    assert sample_names() == ["shapes"]
    assert [path.stem for path in sample_images("shapes")] == sorted(CLASSES)
    for path in sample_images("shapes"):
        with torch.no_grad():
            predicted = shapes(shapes.prepare(path).tensor[None]).argmax().item()
        assert CLASSES[predicted] == path.stem


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


def test_the_sample_opens_as_any_other_file(shapes: Model) -> None:
    again = load(FOLDER / "model.safetensors", arch=f"{FOLDER / '__init__.py'}:make")
    assert again.fingerprint == shapes.fingerprint
