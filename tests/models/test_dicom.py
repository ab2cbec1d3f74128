"""DICOM: stored values to shares of white as the standard shows them, and nothing about whose picture it is."""

from __future__ import annotations

import importlib
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.models.files import dicom
from tests.networks import Linear
from xai.api import explain, load
from xai.errors import RefusedFileError, UsageError
from xai.models.card import Input
from xai.models.images import prepare, read_image
from xai.models.pictures.dicom import windowed

RNG = np.random.default_rng(0)
STORED = RNG.integers(0, 4096, (12, 10), dtype=np.uint16)
GREY = Input(shape=(1, 12, 10))


def shown(path: Path) -> np.ndarray:
    return prepare(path, GREY).tensor[0].numpy()


def test_without_a_window_it_is_shown_from_its_lowest_to_its_highest_value(tmp_path: Path) -> None:
    path = dicom(tmp_path / "a.dcm", STORED)
    low, high = int(STORED.min()), int(STORED.max())
    np.testing.assert_allclose(shown(path), (STORED - float(low)) / (high - low), atol=1e-6)
    assert prepare(path, GREY).treatments == (
        "DICOM",
        f"no window: shown from its lowest value, {low}, to its highest, {high}",
    )


@pytest.mark.parametrize("function", [None, "LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize(("centre", "width"), [(40, 400), (-600.5, 1500), (2000, 20)])
def test_windows_are_those_of_pydicom(tmp_path: Path, function: str | None, centre: float, width: float) -> None:
    from pydicom import dcmread
    from pydicom.pixels import apply_rescale, apply_windowing

    path = dicom(
        tmp_path / "a.dcm",
        STORED,
        RescaleSlope=2,
        RescaleIntercept=-1024,
        WindowCenter=[centre, 1],
        WindowWidth=[width, 9],
        VOILUTFunction=function,
    )
    data = dcmread(path)
    theirs = apply_windowing(apply_rescale(data.pixel_array, data), data, index=0)
    low, high = -1024, 2 * 65535 - 1024  # what pydicom maps a window onto: all values that could be stored
    np.testing.assert_allclose(shown(path), (theirs - low) / (high - low), atol=1e-5)
    assert prepare(path, GREY).treatments[1:] == (
        "rescaled by slope 2 and intercept -1024",
        f"window of centre {centre:g} and width {width:g} ({function or 'LINEAR'})",
        "the first of 2 windows",
    )


def test_a_window_by_hand() -> None:
    values = np.array([-200.0, -160, 0, 39.5, 40, 239, 300])
    expected = [0, 0, 0.400752, 0.5, 0.501253, 1, 1]  # (x - 39.5) / 399 + 0.5, cut to [0, 1]
    np.testing.assert_allclose(windowed(values, 40, 400, "LINEAR"), expected, atol=1e-3)
    assert windowed(np.array([39.0, 39.5, 40.0]), 40, 1, "LINEAR").tolist() == [0, 0, 1]


def test_signed_values_and_inverted_grey(tmp_path: Path) -> None:
    signed = (STORED.astype(np.int32) - 2048).astype(np.int16)
    plain = shown(dicom(tmp_path / "a.dcm", signed, WindowCenter=0, WindowWidth=3000))
    np.testing.assert_allclose(plain, np.clip((signed + 0.5) / 2999 + 0.5, 0, 1), atol=1e-6)
    path = dicom(tmp_path / "b.dcm", signed, WindowCenter=0, WindowWidth=3000, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_allclose(shown(path), 1 - plain, atol=1e-6)
    assert prepare(path, GREY).treatments[-1] == "MONOCHROME1 inverted, so that high is bright"


def test_the_first_of_several_frames_is_taken(tmp_path: Path) -> None:
    frames = np.stack([STORED, STORED[::-1], STORED * 0])
    path = dicom(tmp_path / "a.dcm", frames, NumberOfFrames=3, WindowCenter=2048, WindowWidth=4096)
    np.testing.assert_allclose(shown(path), np.clip((STORED - 2047.5) / 4095 + 0.5, 0, 1), atol=1e-6)
    assert prepare(path, GREY).treatments[:2] == ("DICOM", "first of 3 frames")


def test_colour_of_eight_bits(tmp_path: Path) -> None:
    pixels = RNG.integers(0, 256, (12, 10, 3), dtype=np.uint8)
    options: dict[str, Any] = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "Rows": 12, "Columns": 10}
    for arrangement, stored in ((0, pixels), (1, pixels.transpose(2, 0, 1))):
        stored = np.ascontiguousarray(stored)
        path = dicom(tmp_path / "a.dcm", stored, **options, PlanarConfiguration=arrangement)
        assert np.array_equal(np.asarray(read_image(path)), pixels)
    prepared = prepare(path, Input(shape=(3, 12, 10)))
    np.testing.assert_allclose(prepared.tensor.numpy() * 255, pixels.transpose(2, 0, 1), atol=1e-4)
    assert prepared.treatments == ("DICOM",)


def test_bits_beyond_those_stored_are_no_part_of_the_value(tmp_path: Path) -> None:
    path = dicom(tmp_path / "a.dcm", STORED | 0xF000, BitsStored=12, HighBit=11, WindowCenter=2048, WindowWidth=4096)
    np.testing.assert_allclose(shown(path), np.clip((STORED - 2047.5) / 4095 + 0.5, 0, 1), atol=1e-6)


def test_whose_picture_it_is_stays_out_of_the_record(tmp_path: Path) -> None:
    model = load(Linear((1, 12, 10)), shape=(1, 12, 10))
    run = explain(model, dicom(tmp_path / "scan.dcm", STORED), methods="occlusion", measures="none")
    run.save(tmp_path / "out")
    secrets = ("Doe", "Jane", "SECRET-4711", "19700101", "Saint Elsewhere")
    for path in (tmp_path / "out").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not [word for word in secrets if word.encode() in content], path
    record = json.loads((tmp_path / "out" / "record.json").read_text())
    assert record["inputs"][0]["treatments"][0] == "DICOM"


def test_a_message_does_not_say_either(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = dicom(tmp_path / "a.dcm", STORED)
    path.write_bytes(
        path.read_bytes().replace(b"SECRET-4711", b"SECRET\x00\xff\xfe11").replace(b"19700101", b"1970Jane")
    )
    with warnings.catch_warnings(record=True) as caught:
        prepare(path, GREY)
    assert not caught
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"TransferSyntaxUID": "1.2.840.10008.1.2.1.99"}, "DICOM in transfer syntax Deflated .* write it uncompressed"),
        ({"Rows": 60000, "Columns": 60000}, "damaged or cut short: 1 frames of 60000 x 60000 in"),
        ({"NumberOfFrames": 10**6}, "damaged or cut short: 1000000 frames"),
        ({"Rows": 0}, "damaged or cut short"),
        ({"Rows": None}, "damaged or cut short: AttributeError in DICOM"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "DICOM of 1 x 16 bits, PALETTE COLOR; expected grey"),
        ({"SamplesPerPixel": 4}, "DICOM of 4 x 16 bits"),
        ({"WindowCenter": 40, "WindowWidth": 0}, "DICOM with a window of centre 40 and width 0"),
        (
            {"WindowCenter": 40, "WindowWidth": 400, "VOILUTFunction": "CUBIC"},
            "DICOM with a window of centre 40 and width 400, CUBIC",
        ),
        ({"RescaleSlope": "1e308", "RescaleIntercept": 0}, "DICOM whose rescaled values are not finite"),
    ],
)
def test_what_is_not_read_is_refused(tmp_path: Path, tags: dict[str, object], words: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's, about writing such a file
        path = dicom(tmp_path / "a.dcm", STORED, **tags)
    with pytest.raises(RefusedFileError, match=f"a.dcm is {words}"):
        prepare(path, GREY)


def test_compressed_pixels_are_refused(tmp_path: Path) -> None:
    path = dicom(tmp_path / "a.dcm", STORED)
    path.write_bytes(path.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.5\0"))
    with pytest.raises(RefusedFileError, match="DICOM in transfer syntax RLE Lossless; write it uncompressed"):
        prepare(path, GREY)


def test_a_file_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    content = dicom(tmp_path / "a.dcm", STORED).read_bytes()
    for size in (133, 200, len(content) - 100):
        (tmp_path / "a.dcm").write_bytes(content[:size])
        with pytest.raises(RefusedFileError):
            prepare(tmp_path / "a.dcm", GREY)


def test_without_pydicom_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = dicom(tmp_path / "a.dcm", STORED)
    real = importlib.import_module

    def missing(name: str, package: str | None = None) -> Any:
        if name.startswith("pydicom"):
            raise ModuleNotFoundError(name)
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(UsageError, match=r"is DICOM; to read it: pip install 'xai-verify\[dicom\]'"):
        prepare(path, GREY)


def test_a_dicom_image_is_a_mask_too(tmp_path: Path) -> None:
    from xai.models.images import prepare_mask

    where = (STORED > 2000).astype(np.uint16)
    assert np.array_equal(prepare_mask(dicom(tmp_path / "a.dcm", where), GREY), where > 0)


def table() -> Any:
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    return Sequence([Dataset()])


@pytest.mark.parametrize(
    ("tags", "told"),
    [
        ({"BitsStored": 12, "HighBit": 15}, "12 bits a value, the highest bit 15; expected 11"),
        ({"VOILUTSequence": table}, "through a look-up table; expected a window"),
        ({"PresentationLUTShape": "INVERSE"}, "presentation is inverse, and MONOCHROME2"),
        ({"PerFrameFunctionalGroupsSequence": table}, "enhanced DICOM"),
        ({"SharedFunctionalGroupsSequence": table}, "enhanced DICOM"),
    ],
)
def test_what_is_shown_in_a_way_that_is_not_followed_is_refused(
    tmp_path: Path, tags: dict[str, Any], told: str
) -> None:
    path = dicom(
        tmp_path / "a.dcm", STORED, **{name: value() if callable(value) else value for name, value in tags.items()}
    )
    with pytest.raises(RefusedFileError, match=told):
        read_image(path)


def test_an_inverse_presentation_of_inverted_grey_is_inverted_once(tmp_path: Path) -> None:
    inverted = {"PhotometricInterpretation": "MONOCHROME1", "WindowCenter": 2000, "WindowWidth": 4000}
    one = shown(dicom(tmp_path / "a.dcm", STORED, **inverted))
    np.testing.assert_array_equal(
        one, shown(dicom(tmp_path / "b.dcm", STORED, PresentationLUTShape="INVERSE", **inverted))
    )


@pytest.mark.parametrize("limit", [None, 60000])
def test_padding_does_not_stretch_the_range(tmp_path: Path, limit: int | None) -> None:
    padded = STORED.copy()
    padded[0], padded[1] = 65535, 65535 if limit is None else 61000
    path = dicom(tmp_path / "a.dcm", padded, PixelPaddingValue=65535, PixelPaddingRangeLimit=limit)
    low, high = float(STORED[2:].min()), float(STORED[2:].max())
    np.testing.assert_allclose(shown(path)[2:], (STORED[2:] - low) / (high - low), atol=1e-6)
    assert "padding is left out of the range" in prepare(path, GREY).treatments


def test_a_look_up_table_beside_a_window_is_said_not_to_be_used(tmp_path: Path) -> None:
    path = dicom(tmp_path / "a.dcm", STORED, WindowCenter=2000, WindowWidth=4000, VOILUTSequence=table())
    assert "its look-up table is not used beside the window" in prepare(path, GREY).treatments
