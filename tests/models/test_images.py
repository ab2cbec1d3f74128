"""Inputs at the door: pictures, arrays and tensors that are at hand; masks."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from xai.errors import RefusedFileError, UsageError
from xai.models.card import Input
from xai.models.images import prepare, prepare_mask, read_image

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)
SAME = Input(shape=(3, 20, 30))


def test_bytes_are_kept_exactly() -> None:
    prepared = prepare(PIXELS, SAME)
    assert np.array_equal((prepared.tensor.numpy().transpose(1, 2, 0) * 255).round().astype(np.uint8), PIXELS)
    assert prepared.treatments == ("uint8 (height, width, channels) taken as pixels from 0 to 255",)


def test_a_long_strip_is_refused_before_it_fills_the_memory() -> None:
    with pytest.raises(RefusedFileError, match="too long and narrow"):
        prepare(np.zeros((20000, 1, 3), dtype=np.uint8), Input(shape=(3, 224, 224), resize="crop"))


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
    cut = prepare(Image.fromarray(PIXELS[:, :20]), square)
    assert cut.treatments == ("20 x 20 scaled and cut to the centre to 20 x 20 (bilinear)",)
    assert prepare(Image.fromarray(PIXELS[:, :20]), Input(shape=(3, 20, 20), resize="crop")).treatments == ()


def test_other_ranges_are_mapped() -> None:
    prepared = prepare(PIXELS, Input(shape=(3, 20, 30), range=(-1, 1)))
    np.testing.assert_allclose(prepared.tensor.numpy(), prepare(PIXELS, SAME).tensor.numpy() * 2 - 1, atol=1e-6)
    assert prepared.treatments[-1] == "black to white mapped onto -1 to 1"


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


@pytest.mark.parametrize("channels", [2, 4, 5, 13, 16])
def test_other_numbers_of_channels_need_a_tensor_or_an_array(channels: int) -> None:
    spec = Input(shape=(channels, 20, 30))
    with pytest.raises(UsageError, match=f"takes {channels} channels and a picture of mode RGB .* pass a tensor"):
        prepare(PIXELS, spec) if channels not in (2, 4) else prepare(Image.fromarray(PIXELS), spec)
    x = torch.rand(channels, 20, 30)
    assert torch.equal(prepare(x, spec).tensor, x)
    for count in (1, 2, 5):  # of pixels each becomes
        pixels = RNG.integers(0, 256, (20 * count, 30 * count, channels), dtype=np.uint8)
        planes = [
            prepare(Image.fromarray(plane), Input(shape=(1, 20, 30))).tensor for plane in np.moveaxis(pixels, 2, 0)
        ]
        assert torch.equal(prepare(pixels, spec).tensor, torch.cat(planes))


def test_alpha_is_a_channel_for_a_model_that_takes_it() -> None:
    rgba = RNG.integers(0, 256, (20, 30, 4), dtype=np.uint8)
    prepared = prepare(Image.fromarray(rgba), Input(shape=(4, 20, 30)))
    np.testing.assert_allclose(prepared.tensor.numpy() * 255, rgba.transpose(2, 0, 1), atol=1e-4)
    assert prepared.treatments == ("red, green, blue and alpha used as they are",)
    grey = prepare(Image.fromarray(rgba[..., 2:]), Input(shape=(2, 20, 30)))
    np.testing.assert_allclose(grey.tensor.numpy() * 255, rgba[..., 2:].transpose(2, 0, 1), atol=1e-4)
    assert grey.treatments == ("grey and alpha used as they are",)


def test_channels_of_bytes_stand_last_or_in_the_models_own_shape_first() -> None:
    first = np.ascontiguousarray(PIXELS.transpose(2, 0, 1))
    expected = prepare(PIXELS, SAME).tensor
    for given in (first, first[None], torch.from_numpy(first)):
        prepared = prepare(given, SAME)
        assert torch.equal(prepared.tensor, expected)
        assert prepared.treatments == ("uint8 (channels, height, width) taken as pixels from 0 to 255",)
    larger = np.ascontiguousarray(RNG.integers(0, 256, (3, 40, 60), dtype=np.uint8))
    assert torch.equal(prepare(larger, SAME).tensor, prepare(larger.transpose(1, 2, 0), SAME).tensor)
    with pytest.raises(
        UsageError, match=r"expected uint8 of shape \(height, width\[, channels\]\) .* received \(7, 8, 9\)"
    ):
        prepare(np.zeros((7, 8, 9), dtype=np.uint8), SAME)


def test_sixteen_bit_arrays_are_pixels_too() -> None:
    values = RNG.integers(0, 65536, (20, 30, 3), dtype=np.uint16)
    np.testing.assert_allclose(prepare(values, SAME).tensor.numpy(), values.transpose(2, 0, 1) / 65535, atol=1e-6)
    assert prepare(values, SAME).treatments == ("uint16 (height, width, channels) taken as pixels from 0 to 65535",)


def test_numbers_that_are_the_input_say_what_became_of_them() -> None:
    x = torch.rand(3, 20, 30, dtype=torch.float64)
    given = "used as given, in input units"
    assert prepare(x, SAME).treatments == (given, "float64 converted to float32")
    assert prepare(x[None].numpy(), SAME).treatments == (
        given,
        "float64 converted to float32",
        "taken out of a batch of one",
    )
    assert prepare(x.float(), SAME).treatments == (given,)


@pytest.mark.parametrize("shape", [(5,), (2, 7), (2, 3, 4, 5)])
def test_inputs_that_are_no_picture_are_given_as_numbers(shape: tuple[int, ...]) -> None:
    spec, x = Input(shape=shape), 100 * torch.randn(shape)
    assert torch.equal(prepare(x, spec).tensor, x)
    assert torch.equal(prepare((x.clamp(0, 255)).to(torch.uint8), spec).tensor, x.clamp(0, 255).floor())
    with pytest.raises(UsageError, match="a picture cannot be mapped onto its input"):
        prepare(Image.fromarray(PIXELS), spec)


def test_pictures_need_a_range_and_numbers_do_not() -> None:
    spec = Input(shape=(3, 20, 30), range=None)
    with pytest.raises(UsageError, match="takes values of no declared range"):
        prepare(Image.fromarray(PIXELS), spec)
    assert torch.equal(
        prepare(PIXELS.transpose(2, 0, 1), spec).tensor, torch.from_numpy(PIXELS.transpose(2, 0, 1)).float()
    )


def test_a_folder_is_no_picture(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no file"):
        read_image(tmp_path)


def test_what_never_ends_is_no_picture(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    for path in (tmp_path / "pipe.png", Path("/dev/zero")):
        with pytest.raises(UsageError, match="is no file"):
            prepare(path, SAME)


def test_a_link_that_is_named_is_followed(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    Image.fromarray(PIXELS).save(tmp_path / "there" / "a.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "there" / "a.png")
    assert torch.equal(prepare(tmp_path / "link.png", SAME).tensor, prepare(PIXELS, SAME).tensor)


def test_other_formats_are_refused(tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.gif")
    with pytest.raises(RefusedFileError, match="expected PNG, JPEG, WEBP, BMP, TIFF, "):
        read_image(tmp_path / "a.gif")


WHERE = np.zeros((20, 30), dtype=bool)
WHERE[3:9, 20:] = True


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float64, np.uint16])
def test_masks_may_be_arrays(tmp_path: Path, dtype: type) -> None:
    np.save(tmp_path / "a.npy", WHERE.astype(dtype))
    np.savez(tmp_path / "a.npz", WHERE.astype(dtype)[None])
    torch.save(torch.from_numpy(WHERE.astype(dtype)), tmp_path / "a.pt")
    for name in ("a.npy", "a.npz", "a.pt"):
        assert np.array_equal(prepare_mask(tmp_path / name, SAME), WHERE)


def test_masks_are_where_a_picture_is_not_black(tmp_path: Path) -> None:
    blue = np.zeros((20, 30, 3), dtype=np.uint8)
    blue[WHERE] = (0, 0, 1)  # so dark that it is black in grey
    Image.fromarray(blue).save(tmp_path / "blue.png")
    Image.fromarray(WHERE.astype(np.uint16)).save(tmp_path / "deep.png")
    Image.fromarray(np.dstack([WHERE.astype(np.uint8), np.full_like(WHERE, 255, dtype=np.uint8)])).save(
        tmp_path / "la.png"
    )
    Image.fromarray(WHERE).save(tmp_path / "bits.png")
    for name in ("blue.png", "deep.png", "la.png", "bits.png"):
        assert np.array_equal(prepare_mask(tmp_path / name, SAME), WHERE), name


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (np.zeros((20, 30, 3)), r"expected a mask of numbers \(height, width\), received float64 of \(20, 30, 3\)"),
        (np.full((20, 30), np.nan), "the mask holds NaN"),
        (np.array(["a"]), "expected a mask of numbers"),
    ],
)
def test_masks_that_are_none_are_refused(tmp_path: Path, mask: np.ndarray, words: str) -> None:
    np.save(tmp_path / "a.npy", mask)
    with pytest.raises(RefusedFileError, match=words):
        prepare_mask(tmp_path / "a.npy", SAME)
