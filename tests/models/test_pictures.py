"""Picture files: every kind against what was written into it, and what became of it said."""

from __future__ import annotations

import logging
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, features
from tifffile import imwrite

from tests.models.files import framed, png
from xai.errors import RefusedFileError, UsageError
from xai.models.card import Input
from xai.models.images import prepare

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)
DEEP = RNG.integers(0, 65536, (20, 30, 3), dtype=np.uint16)
SAME = Input(shape=(3, 20, 30))
GREY = Input(shape=(1, 20, 30))


def shown(path: Path, spec: Input = SAME) -> np.ndarray:
    """Return a file's pixels (height, width[, channels]) in [0, 1]."""
    pixels = prepare(path, spec).tensor.numpy()
    return pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)


def told(path: Path, spec: Input = SAME) -> tuple[str, ...]:
    return prepare(path, spec).treatments


def luma(rgb: np.ndarray) -> np.ndarray:
    """Return the grey of ITU-R 601 of bytes, as Pillow documents it."""
    return rgb.astype(float) @ [0.299, 0.587, 0.114]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.png", {}),
        ("a.bmp", {}),
        ("a.tif", {}),
        ("a.tiff", {"compression": "tiff_lzw"}),
        ("a.tif", {"compression": "tiff_adobe_deflate"}),
        ("a.webp", {"lossless": True}),
    ],
)
def test_lossless_formats_give_what_was_written(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    Image.fromarray(PIXELS).save(tmp_path / name, **options)
    assert np.array_equal(shown(tmp_path / name) * 255, PIXELS)
    assert told(tmp_path / name) == ()
    np.testing.assert_allclose(shown(tmp_path / name, GREY) * 255, luma(PIXELS), atol=1)
    assert told(tmp_path / name, GREY) == ("RGB converted to grey",)


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif"])
@pytest.mark.parametrize("mode", ["1", "L", "P"])
def test_grey_bits_and_palettes(tmp_path: Path, name: str, mode: str) -> None:
    image = Image.fromarray(PIXELS).convert(mode)
    image.save(tmp_path / name)
    assert np.array_equal(shown(tmp_path / name) * 255, np.asarray(image.convert("RGB")))
    assert told(tmp_path / name) == (f"{mode} converted to RGB",)


def test_jpeg_is_near_what_was_written(tmp_path: Path) -> None:
    smooth = np.dstack([np.add.outer(np.arange(20), np.arange(30)) * k for k in (1, 2, 4)]).astype(np.uint8)
    for options in ({}, {"progressive": True}):
        Image.fromarray(smooth).save(tmp_path / "a.jpg", quality=100, subsampling=0, **options)
        np.testing.assert_allclose(shown(tmp_path / "a.jpg") * 255, smooth, atol=3)


def test_the_kind_is_told_from_the_bytes_and_not_from_the_name(tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.bmp")
    (tmp_path / "a.bmp").rename(tmp_path / "a.npy")
    assert np.array_equal(shown(tmp_path / "a.npy") * 255, PIXELS)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.webp", "a.jpg"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_undone_in_every_format(tmp_path: Path, name: str, orientation: int) -> None:
    """EXIF says at which side of the upright picture the stored one's first row and first column lie."""
    upright = np.zeros((16, 32, 3), dtype=np.uint8)
    upright[:8, :16], upright[:8, 16:], upright[8:, :16] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    stored = upright.transpose(1, 0, 2) if orientation > 4 else upright
    stored = stored[::-1] if orientation in (3, 4, 6, 7) else stored  # first row: bottom, right
    stored = stored[:, ::-1] if orientation in (2, 3, 7, 8) else stored  # first column: right, bottom
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"a.jpg": {"quality": 100, "subsampling": 0}, "a.webp": {"lossless": True}}.get(name, {})
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / name, exif=exif, **options)
    np.testing.assert_allclose(shown(tmp_path / name, Input(shape=(3, 16, 32))) * 255, upright, atol=4)
    notes = ("turned upright as its EXIF data says",) if orientation > 1 else ()
    assert told(tmp_path / name, Input(shape=(3, 16, 32))) == notes


def test_broken_exif_is_left_out_of_account(tmp_path: Path) -> None:
    for exif in (b"rI*\0\x08\0\0\0", b"Exif\0\0MM\0\x2a\0\0"):
        Image.fromarray(PIXELS).save(tmp_path / "a.png", exif=exif)
        assert np.array_equal(shown(tmp_path / "a.png") * 255, PIXELS)


@pytest.mark.parametrize("spec", [SAME, GREY])
@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_sixteen_bits_of_grey_are_not_rounded(tmp_path: Path, name: str, spec: Input) -> None:
    Image.fromarray(DEEP[..., 0]).save(tmp_path / name)
    prepared = prepare(tmp_path / name, spec)
    np.testing.assert_allclose(prepared.tensor[-1].numpy(), DEEP[..., 0] / 65535, atol=1e-6)
    assert prepared.treatments == ("16 bits a pixel, kept without rounding",)


@pytest.mark.parametrize("kind", [2, 6])
def test_sixteen_bits_of_colour_lose_their_lower_half_and_it_is_said(tmp_path: Path, kind: int) -> None:
    opaque = np.dstack([DEEP, np.full((20, 30), 65535)]) if kind == 6 else DEEP
    path = png(tmp_path / "a.png", opaque, 16, kind)
    assert np.array_equal(shown(path) * 255, DEEP >> 8)
    assert told(path)[0] == "16 bits a channel, of which the upper 8 are kept"


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_a_transparent_grey_is_laid_over_white(tmp_path: Path, bits: int) -> None:
    top = 2**bits - 1
    values = RNG.integers(0, top + 1, (20, 30, 1), dtype=np.uint16)
    key = int(values[0, 0, 0]) if bits == 16 else top // 3
    path = png(tmp_path / "a.png", values, bits, 0, tRNS=struct.pack(">H", key))
    expected = np.where(values == key, top, values)[..., 0] / top
    np.testing.assert_allclose(shown(path, GREY), expected, atol=1e-6)
    assert "transparency laid over white" in told(path, GREY)


def test_transparency_is_laid_over_white(tmp_path: Path) -> None:
    alpha = RNG.integers(0, 256, (20, 30, 1), dtype=np.uint8)
    Image.fromarray(np.dstack([PIXELS, alpha])).save(tmp_path / "rgba.png")
    expected = (PIXELS * (alpha / 255.0) + 255 * (1 - alpha / 255.0)) / 255
    np.testing.assert_allclose(shown(tmp_path / "rgba.png"), expected, atol=1 / 255)
    assert told(tmp_path / "rgba.png") == ("transparency laid over white",)
    Image.fromarray(np.dstack([PIXELS[..., :1], alpha])).save(tmp_path / "la.png")
    np.testing.assert_allclose(shown(tmp_path / "la.png", GREY), expected[..., 0], atol=1 / 255)


def test_a_transparent_entry_of_a_palette_is_laid_over_white(tmp_path: Path) -> None:
    indices = RNG.integers(0, 4, (20, 30, 1), dtype=np.uint8)
    palette = RNG.integers(0, 256, (4, 3), dtype=np.uint8)
    path = png(tmp_path / "a.png", indices, 2, 3, PLTE=palette.tobytes(), tRNS=b"\xff\x00")
    expected = np.where(indices == 1, 255, palette[indices[..., 0]])
    assert np.array_equal(shown(path) * 255, expected)
    assert told(path) == ("transparency laid over white",)
    four = prepare(path, Input(shape=(4, 20, 30)))
    assert np.array_equal(four.tensor[3].numpy(), (indices[..., 0] != 1).astype(np.float32))
    assert four.treatments == ("red, green, blue and alpha used as they are (P converted to RGBA)",)


def test_the_first_frame_of_an_animation_is_taken(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (30, 20), colour) for colour in ("red", "blue")]
    for suffix in ("png", "webp"):
        path = tmp_path / f"moving.{suffix}"
        frames[0].save(path, save_all=True, append_images=frames[1:], lossless=True)
        assert told(path)[0] == "first of 2 frames"
        assert shown(path)[..., 0].min() > 0.98


def test_the_first_page_of_a_tiff_is_taken(tmp_path: Path) -> None:
    imwrite(tmp_path / "a.tif", np.stack([PIXELS, 255 - PIXELS]), photometric="rgb")
    assert np.array_equal(shown(tmp_path / "a.tif") * 255, PIXELS)
    assert told(tmp_path / "a.tif") == ("first of several pages",)


def test_the_inks_of_a_jpeg_are_read_as_adobe_writes_them(tmp_path: Path) -> None:
    Image.new("RGB", (30, 20), (200, 30, 60)).convert("CMYK").save(tmp_path / "a.jpg", quality=100)
    np.testing.assert_allclose(shown(tmp_path / "a.jpg") * 255, np.full((20, 30, 3), (200, 30, 60)), atol=2)
    assert told(tmp_path / "a.jpg") == ("CMYK converted to RGB by formula, without a colour profile",)
    content = (tmp_path / "a.jpg").read_bytes()
    start = content.find(b"\xff\xee")
    (tmp_path / "a.jpg").write_bytes(
        content[:start] + content[start + 2 + int.from_bytes(content[start + 2 : start + 4]) :]
    )
    with pytest.raises(RefusedFileError, match="CMYK JPEG without Adobe's mark"):
        prepare(tmp_path / "a.jpg", SAME)


def test_lab_is_read_under_the_light_of_its_standard(tmp_path: Path) -> None:
    """The second way: CIE Lab under D50, Bradford to D65, the sRGB matrix and curve."""
    lab = np.zeros((20, 30, 3))
    lab[..., 0] = np.linspace(30, 80, 600).reshape(20, 30)
    lab[..., 1:] = RNG.integers(-15, 16, (20, 30, 2))
    stored = np.dstack([np.round(lab[..., 0] * 2.55), lab[..., 1:]]).astype(int)
    imwrite(tmp_path / "a.tif", (stored % 256).astype(np.uint8), photometric="cielab")
    lightness = stored[..., 0] / 2.55
    y = (lightness + 16) / 116
    xyz = np.stack([y + lab[..., 1] / 500, y, y - lab[..., 2] / 200], axis=-1)
    xyz = np.where(xyz > 6 / 29, xyz**3, 3 * (6 / 29) ** 2 * (xyz - 4 / 29)) * [0.9642, 1, 0.8249]
    bradford = [
        [0.9555766, -0.0230393, 0.0631636],
        [-0.0282895, 1.0099416, 0.0210077],
        [0.0122982, -0.0204830, 1.3299098],
    ]
    srgb = [[3.2404542, -1.5371385, -0.4985314], [-0.9692660, 1.8760108, 0.0415560], [0.0556434, -0.2040259, 1.0572252]]
    linear = np.clip(xyz @ np.transpose(bradford) @ np.transpose(srgb), 0, 1)
    expected = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose(shown(tmp_path / "a.tif"), expected, atol=5 / 255)
    assert told(tmp_path / "a.tif", GREY) == ("LAB converted to RGB", "RGB converted to grey")


def test_other_colour_profiles_are_not_applied_and_it_is_said(tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.png", icc_profile=b"not the usual one")
    assert told(tmp_path / "a.png") == ("its colour profile was left out of account",)
    if features.check("littlecms2"):
        from PIL import ImageCms

        usual = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        Image.fromarray(PIXELS).save(tmp_path / "a.png", icc_profile=usual)
        assert told(tmp_path / "a.png") == ()


BIG, LITTLE = {"byteorder": ">"}, {"byteorder": "<"}
APART: dict[str, Any] = {"planarconfig": "separate"}
PACKED: dict[str, Any] = {"compression": "zlib"}
UNIT = RNG.random((20, 30)).astype(np.float32)


@pytest.mark.parametrize("order", [BIG, LITTLE])
@pytest.mark.parametrize("options", [{}, PACKED, {"tile": (16, 16)}, {**PACKED, "predictor": True}])
@pytest.mark.parametrize(
    ("stored", "expected", "note"),
    [
        (PIXELS, PIXELS / 255, None),
        (PIXELS[..., 0], np.repeat(PIXELS[..., :1] / 255, 3, axis=2), "L converted to RGB"),
        (DEEP[..., 0], np.repeat(DEEP[..., :1] / 65535, 3, axis=2), "16 bits a pixel, kept without rounding"),
        (DEEP, (DEEP >> 8) / 255, "16 bits a channel, of which the upper 8 are kept"),
    ],
)
def test_every_layout_of_a_tiff_gives_what_was_written(
    tmp_path: Path, order: Any, options: Any, stored: np.ndarray, expected: np.ndarray, note: str | None
) -> None:
    imwrite(tmp_path / "a.tif", stored, **order, **options)
    np.testing.assert_allclose(shown(tmp_path / "a.tif"), expected, atol=1e-6)
    assert told(tmp_path / "a.tif") == (() if note is None else (note,))


@pytest.mark.parametrize(
    ("stored", "options", "expected", "note"),
    [
        (PIXELS.transpose(2, 0, 1), {**APART, "photometric": "rgb"}, PIXELS / 255, None),
        (PIXELS.transpose(2, 0, 1), {**APART, **PACKED, "photometric": "rgb"}, PIXELS / 255, None),
        (PIXELS[..., 0], {"photometric": "miniswhite"}, 1 - PIXELS[..., :1] / 255, "L converted to RGB"),
        (DEEP[..., 0], {"photometric": "miniswhite"}, 1 - DEEP[..., :1] / 65535, "inverted, since its zero is white"),
        (UNIT, {}, UNIT[..., None], "floating-point values taken as shares of white"),
        (UNIT, PACKED, UNIT[..., None], "floating-point values taken as shares of white"),
        (UNIT, BIG, UNIT[..., None], "floating-point values taken as shares of white"),
        (
            np.dstack([PIXELS, PIXELS[..., :1]]),
            {"photometric": "rgb", "extrasamples": ["unspecified"]},
            PIXELS / 255,
            "1 unnamed channels beside the colours were left out",
        ),
        (
            np.dstack([PIXELS // 2, np.full((20, 30), 128, dtype=np.uint8)]),
            {"photometric": "rgb", "extrasamples": ["assocalpha"]},
            (PIXELS // 2 + 127) / 255,
            "colours divided by the alpha that they were multiplied with",
        ),
    ],
)
def test_kinds_of_tiff(
    tmp_path: Path, stored: np.ndarray, options: Any, expected: np.ndarray, note: str | None
) -> None:
    imwrite(tmp_path / "a.tif", stored, **options)
    atol = 2 / 255 if "assocalpha" in options.get("extrasamples", ()) else 1e-6
    np.testing.assert_allclose(shown(tmp_path / "a.tif"), np.broadcast_to(expected, (20, 30, 3)), atol=atol)
    assert (note in told(tmp_path / "a.tif")) if note else told(tmp_path / "a.tif") == ()


def test_twelve_bits_of_grey_reach_white(tmp_path: Path) -> None:
    values = DEEP[..., 0] >> 4
    nibbles = np.stack([values >> 8, values >> 4 & 15, values & 15], axis=-1).reshape(20, 45, 2)
    packed = (nibbles[..., 0] << 4 | nibbles[..., 1]).astype(np.uint8)
    imwrite(tmp_path / "a.tif", packed, photometric="minisblack", rowsperstrip=20, metadata=None)
    content = bytearray((tmp_path / "a.tif").read_bytes())
    start = int.from_bytes(content[4:8], "little")
    for at in range(start + 2, start + 2 + 12 * int.from_bytes(content[start : start + 2], "little"), 12):
        tag = int.from_bytes(content[at : at + 2], "little")
        if tag in (256, 258):
            content[at + 2 : at + 12] = struct.pack("<HIHH", 3, 1, 30 if tag == 256 else 12, 0)
    (tmp_path / "a.tif").write_bytes(content)
    np.testing.assert_allclose(shown(tmp_path / "a.tif", GREY), values / 4095, atol=1e-6)
    assert told(tmp_path / "a.tif", GREY) == ("12 bits a pixel, kept without rounding",)


@pytest.mark.parametrize(
    ("stored", "options", "words"),
    [
        (DEEP[..., 0].astype(np.int16), {}, "signed or 32-bit whole numbers, whose white is not known; give .* .npy"),
        (DEEP[..., 0].astype(np.uint32), {}, "signed or 32-bit whole numbers"),
        (PIXELS[..., 0].astype(np.int8), {}, "signed or 32-bit whole numbers"),
        (255 * UNIT, {}, r"floating-point values that do not all lie in \[0, 1\]"),
        (np.full_like(UNIT, np.nan), {}, r"do not all lie in \[0, 1\]"),
        (UNIT, {"photometric": "miniswhite"}, "floating-point TIFF that is inverted"),
        (UNIT, {**BIG, **PACKED}, "big-endian and compressed"),
        (DEEP.transpose(2, 0, 1), {**APART, "photometric": "rgb"}, "channels apart, which Pillow misreads"),
        (
            RNG.random((20, 30, 5)),
            {"photometric": "minisblack", "extrasamples": [0] * 4},
            "is not a picture that is read",
        ),
    ],
)
def test_tiffs_that_would_be_misread_are_refused(tmp_path: Path, stored: np.ndarray, options: Any, words: str) -> None:
    imwrite(tmp_path / "a.tif", stored, **options)
    with pytest.raises(RefusedFileError, match=words):
        prepare(tmp_path / "a.tif", SAME)


def test_a_tiff_of_which_a_part_is_missing_is_refused(tmp_path: Path) -> None:
    imwrite(tmp_path / "a.tif", PIXELS, photometric="rgb", rowsperstrip=5)
    content = bytearray((tmp_path / "a.tif").read_bytes())
    start = int.from_bytes(content[4:8], "little")
    for at in range(start + 2, start + 2 + 12 * int.from_bytes(content[start : start + 2], "little"), 12):
        if int.from_bytes(content[at : at + 2], "little") in (273, 279):  # offsets and lengths of strips
            content[at + 4 : at + 8] = (3).to_bytes(4, "little")
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(RefusedFileError, match="parts of the picture are missing"):
        prepare(tmp_path / "a.tif", SAME)


def test_what_libraries_print_of_a_broken_file_stays_off_the_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(PIXELS).convert("1").save(tmp_path / "a.tif", compression="group4")
    content = bytearray((tmp_path / "a.tif").read_bytes())
    with Image.open(tmp_path / "a.tif") as image:
        (start,) = image.tag_v2[273]  # the offset of the one strip
    content[start + 5 : start + 9] = bytes(4)
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(RefusedFileError, match="damaged or cut short: Fax4Decode: Bad code word"):
        prepare(tmp_path / "a.tif", SAME)
    assert capfd.readouterr().err == ""
    assert any(isinstance(handler, logging.NullHandler) for handler in logging.getLogger("PIL").handlers)


def test_a_jpeg_of_a_thousand_scans_is_refused(tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.jpg", progressive=True)
    content = (tmp_path / "a.jpg").read_bytes()
    start = content.rfind(b"\xff\xda")
    (tmp_path / "a.jpg").write_bytes(content[:start] + content[start:-2] * 1000 + content[-2:])
    with pytest.raises(RefusedFileError, match=r"is a JPEG of 10\d\d scans; expected at most 100"):
        prepare(tmp_path / "a.jpg", SAME)


def test_a_live_picture_is_read_as_its_file_is(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(PIXELS).save(tmp_path / "a.png", exif=exif)
    spec = Input(shape=(3, 30, 20))
    with Image.open(tmp_path / "a.png") as image:
        assert np.array_equal(prepare(image, spec).tensor, prepare(tmp_path / "a.png", spec).tensor)
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:900])
    with Image.open(tmp_path / "a.png") as image, pytest.raises(UsageError, match="the picture cannot be read"):
        prepare(image, spec)
    with pytest.raises(UsageError, match=r"the picture holds values in \[-5, -5\]; expected 0 to 65535"):
        prepare(Image.new("I", (30, 20), -5), SAME)


@pytest.mark.parametrize("side", [65535, 2**31 - 1])
def test_a_picture_that_claims_gigapixels_is_refused(tmp_path: Path, side: int) -> None:
    path = framed(tmp_path / "a.png", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0), b"\0" * 100)
    with pytest.raises(RefusedFileError, match="too large"):
        prepare(path, SAME)
