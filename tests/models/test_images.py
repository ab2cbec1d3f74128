"""Pictures at the door."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from xai.errors import RefusedFileError, UsageError
from xai.models.card import Input
from xai.models.images import prepare, read_image

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)
SAME = Input(shape=(3, 20, 30))


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_formats_and_colours(tmp_path: Path, suffix: str, mode: str) -> None:
    path = tmp_path / f"a.{suffix}"
    options = {"lossless": True} if suffix == "webp" else {"quality": 100} if suffix == "jpg" else {}
    Image.fromarray(PIXELS).convert(mode).save(path, **options)
    for channels in (1, 3):
        prepared = prepare(path, Input(shape=(channels, 20, 30)))
        expected = np.asarray(Image.open(path).convert("L" if channels == 1 else "RGB"), dtype=np.float32) / 255
        expected = expected[None] if channels == 1 else expected.transpose(2, 0, 1)
        np.testing.assert_allclose(prepared.tensor.numpy(), expected, atol=1e-6)
        assert prepared.tensor.dtype == torch.float32


def test_bytes_are_kept_exactly() -> None:
    prepared = prepare(PIXELS, SAME)
    assert np.array_equal((prepared.tensor.numpy().transpose(1, 2, 0) * 255).round().astype(np.uint8), PIXELS)
    assert prepared.treatments == ()


def test_exif_rotation_is_undone(tmp_path: Path) -> None:
    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(PIXELS).save(path, exif=exif, quality=100)
    prepared = prepare(path, Input(shape=(3, 30, 20)))
    upright = np.asarray(Image.open(path).convert("RGB").transpose(Image.Transpose.ROTATE_270), dtype=np.float32) / 255
    np.testing.assert_allclose(prepared.tensor.numpy(), upright.transpose(2, 0, 1), atol=1e-6)
    assert any("EXIF" in note for note in prepared.treatments)


def test_broken_exif_is_left_out_of_account(tmp_path: Path) -> None:
    for exif in (b"rI*\0\x08\0\0\0", b"Exif\0\0MM\0\x2a\0\0"):
        Image.fromarray(PIXELS).save(tmp_path / "a.png", exif=exif)
        prepared = prepare(tmp_path / "a.png", SAME)
        assert prepared.tensor.shape == (3, 20, 30)


def test_a_long_strip_is_refused_before_it_fills_the_memory() -> None:
    with pytest.raises(RefusedFileError, match="too long and narrow"):
        prepare(np.zeros((20000, 1, 3), dtype=np.uint8), Input(shape=(3, 224, 224), resize="crop"))


def test_sixteen_bits_are_not_rounded(tmp_path: Path) -> None:
    values = np.linspace(0, 65535, 600).astype(np.uint16).reshape(20, 30)
    Image.fromarray(values).save(tmp_path / "deep.png")
    for channels in (1, 3):
        prepared = prepare(tmp_path / "deep.png", Input(shape=(channels, 20, 30)))
        np.testing.assert_allclose(prepared.tensor[-1].numpy(), values / 65535, atol=1e-6)
        assert any("16 bits" in note for note in prepared.treatments)


def test_transparency_is_laid_over_white(tmp_path: Path) -> None:
    rgba = np.dstack([PIXELS, np.zeros((20, 30), dtype=np.uint8)])
    Image.fromarray(rgba).save(tmp_path / "clear.png")
    prepared = prepare(tmp_path / "clear.png", SAME)
    assert torch.all(prepared.tensor == 1)
    assert "transparency laid over white" in prepared.treatments


def test_palettes_and_cmyk_are_converted(tmp_path: Path) -> None:
    Image.fromarray(PIXELS).convert("P").save(tmp_path / "p.png")
    Image.fromarray(PIXELS).convert("CMYK").save(tmp_path / "c.jpg")
    for name, mode in (("p.png", "P"), ("c.jpg", "CMYK")):
        assert any(mode in note for note in prepare(tmp_path / name, SAME).treatments)


def test_the_first_frame_of_an_animation_is_taken(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (30, 20), colour) for colour in ("red", "blue")]
    for suffix in ("png", "webp"):
        path = tmp_path / f"moving.{suffix}"
        frames[0].save(path, save_all=True, append_images=frames[1:], lossless=True)
        prepared = prepare(path, SAME)
        assert prepared.treatments[0] == "first of 2 frames"
        assert prepared.tensor[0].min() > 0.98


def test_stretching_and_cropping_equal_torchvisions_presets() -> None:
    from torchvision.transforms import functional as F

    image = Image.fromarray(RNG.integers(0, 256, (300, 400, 3), dtype=np.uint8))
    cropped = prepare(image, Input(shape=(3, 224, 224), resize="crop", crop_fraction=0.875)).tensor
    theirs = F.to_tensor(F.center_crop(F.resize(image, [256]), [224]))
    np.testing.assert_allclose(cropped.numpy(), theirs.numpy(), atol=1e-6)
    stretched = prepare(image, Input(shape=(3, 64, 48))).tensor
    np.testing.assert_allclose(stretched.numpy(), F.to_tensor(F.resize(image, [64, 48])).numpy(), atol=1e-6)


def test_what_was_resampled_is_noted_also_when_the_size_stays() -> None:
    square = Input(shape=(3, 20, 20), resize="crop", crop_fraction=0.8)
    assert prepare(PIXELS[:, :20], square).treatments == ("20 x 20 scaled and cut to the centre to 20 x 20 (bilinear)",)
    assert prepare(PIXELS[:, :20], Input(shape=(3, 20, 20), resize="crop")).treatments == ()


def test_other_ranges_are_mapped() -> None:
    prepared = prepare(PIXELS, Input(shape=(3, 20, 30), range=(-1, 1)))
    np.testing.assert_allclose(prepared.tensor.numpy(), prepare(PIXELS, SAME).tensor.numpy() * 2 - 1, atol=1e-6)


def test_a_tensor_is_used_as_given_if_it_fits() -> None:
    x = torch.rand(3, 20, 30)
    assert torch.equal(prepare(x, SAME).tensor, x)
    assert torch.equal(prepare(x[None], SAME).tensor, x)
    assert torch.equal(prepare(x.numpy(), SAME).tensor, x)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (torch.rand(3, 4, 5), r"shape \(3, 20, 30\), received a tensor of \(3, 4, 5\)"),
        (torch.rand(3, 20, 30) * 3 - 2, "give pixels, not normalised values"),
        (torch.full((3, 20, 30), torch.nan), "NaN"),
        (7, "expected a path, a PIL picture"),
    ],
)
def test_what_does_not_fit_is_refused(image: object, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        prepare(image, SAME)


def test_many_channels_need_a_tensor() -> None:
    with pytest.raises(UsageError, match="pass a tensor"):
        prepare(PIXELS, Input(shape=(5, 20, 30)))


def test_a_folder_is_no_picture(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no file"):
        read_image(tmp_path)


def test_other_formats_are_refused(tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.bmp")
    with pytest.raises(RefusedFileError, match="expected PNG, JPEG, WEBP"):
        read_image(tmp_path / "a.bmp")
