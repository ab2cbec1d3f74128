"""The pointing game, where the object is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import IMAGES
from tests.measures.subjects import subject
from xai.api import explain
from xai.data.samples import read_samples
from xai.errors import NotApplicableError, UsageError
from xai.measures.pointing import Pointing
from xai.models.model import Model
from xai.models.samples.shapes import CLASSES, generate
from xai.models.samples.shapes.train import EXAMPLE_SEED
from xai.runtime import Runtime

MASK = np.zeros((16, 16), dtype=bool)
MASK[4:8, 4:8] = True


def judged(small: Model, map_: np.ndarray, mask: np.ndarray | None = MASK):
    return Pointing().measure(subject(small, torch.zeros(3, 16, 16), lambda *_: map_, mask=mask), Runtime())


def test_a_map_on_the_object_points_at_it(small: Model) -> None:
    map_ = np.where(MASK, 3.0, 0.0)
    map_[0, 0] = 1.0
    said = judged(small, map_)
    assert said.speaks == "for"
    assert said.values["hit"].value is True
    assert said.values["mass"].value == pytest.approx(48 / 49)
    assert said.values["area"].value == pytest.approx(1 / 16)
    assert said.values["mass over area"].value == pytest.approx(16 * 48 / 49)


def test_what_speaks_against_the_target_does_not_count(small: Model) -> None:
    map_ = np.where(MASK, -5.0, 1.0)
    said = judged(small, map_)
    assert said.speaks == "against"
    assert said.values["hit"].value is False
    assert said.values["mass"].value == 0
    said = judged(small, np.where(MASK, -1.0, -2.0))
    assert said.values["mass"].value is None


def test_of_equally_high_places_most_must_lie_on_the_object(small: Model) -> None:
    for rows, hit in ((slice(3, 8), True), (slice(0, 8), True), (slice(0, 9), False)):
        map_ = np.zeros((16, 16))
        map_[rows, 4:8] = 1.0
        assert judged(small, map_).values["hit"].value is hit


def test_without_a_mask_it_does_not_apply(small: Model) -> None:
    for mask in (None, np.zeros((16, 16), dtype=bool)):
        with pytest.raises(NotApplicableError):
            judged(small, MASK.astype(float), mask)


def test_the_bundled_masks_are_the_generators(shapes: Model) -> None:
    data = generate(len(CLASSES), EXAMPLE_SEED)
    masks = {sample.id: sample.mask for sample in read_samples("sample:shapes", shapes)}
    for label, mask in zip(data.labels, data.masks, strict=True):
        assert np.array_equal(masks[CLASSES[label]], mask.numpy())


def test_masks_are_read_from_a_folder_and_cut_as_their_pictures(shapes: Model, tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    (tmp_path / "images").mkdir()
    picture = np.random.default_rng(0).integers(0, 256, (100, 50, 3), dtype=np.uint8)
    mask = np.zeros((100, 50), dtype=np.uint8)
    mask[:50] = 1
    Image.fromarray(picture).save(tmp_path / "images" / "a.png")
    Image.fromarray(picture).save(tmp_path / "images" / "b.png")
    Image.fromarray(mask).save(tmp_path / "masks" / "a.png")
    found = explain(shapes, tmp_path / "images", methods="gradcam", measures="pointing", masks=tmp_path / "masks")
    first, second = (found["gradcam", name].record.trust[0] for name in "ab")
    assert first.values["area"].value == pytest.approx(0.5)
    assert second.status == "skipped"
    with pytest.raises(UsageError, match="is not a folder of masks"):
        explain(shapes, IMAGES, masks=tmp_path / "gone")
