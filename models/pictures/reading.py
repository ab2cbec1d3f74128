"""Picture files: what Pillow would read wrongly is refused, and what it does on the way is said."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, TiffImagePlugin, UnidentifiedImageError

from xai.errors import RefusedFileError, UsageError
from xai.models.pictures.sniff import EXPECTED
from xai.models.pictures.stderr import caught_stderr
from xai.text import storable

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF")
MAX_SCANS = 100  # of a JPEG: each is a pass over all pixels, and a file of some kilobytes can ask for thousands
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_CUT = "16 bits a channel, of which the upper 8 are kept"
_AS_NUMPY = "give the numbers as .npy of the model's shape, in input units"
logging.getLogger("PIL").addHandler(logging.NullHandler())  # else Python prints its errors about broken files


@dataclass(frozen=True)
class Picture:
    """A picture as it was read, upright.

    Args:
        image: of 8 bits a channel; or of mode F, grey in [0, 255] without rounding.
        treatments: what was done to it, in order, in words.
    """

    image: Image.Image
    treatments: tuple[str, ...] = ()


def read_picture(path: Path) -> Picture:
    """Read a PNG, JPEG, WEBP, BMP or TIFF file.

    Raises:
        RefusedFileError: it is damaged, too large, of another format, or of a kind whose pixels would come out wrong.
    """
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            # Pillow only warns of a decompression bomb below twice its limit.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as image:
                if image.format in ("JPEG", "MPO"):
                    _check_scans(path)
                picture = _read(image)
    except RefusedFileError as error:
        raise RefusedFileError(f"image {path} {error}") from error
    except UnidentifiedImageError as error:
        raise RefusedFileError(f"image {path} is not a picture that is read here; expected {EXPECTED}") from error
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise RefusedFileError(f"image {path} is too large: more than {Image.MAX_IMAGE_PIXELS} pixels") from error
    except MemoryError as error:
        raise RefusedFileError(f"image {path} is too large: it asks for more memory than there is") from error
    except Exception as error:  # on broken files Pillow raises whatever its parsers run into
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise RefusedFileError(f"image {path} is damaged or cut short: {reason}") from error
    told = [" ".join(str(one.message).split())[:200] for one in caught if one.category is UserWarning]
    return Picture(picture.image, (*picture.treatments, *(storable(f"Pillow warns: {text}") for text in told[:1])))


def given_picture(image: Image.Image) -> Picture:
    """Return a PIL picture as a file's would be.

    Raises:
        UsageError: its pixels cannot be read, or have no range that is known.
    """
    try:
        return _read(image)
    except RefusedFileError as error:
        raise UsageError(f"the picture {error}") from error
    except Exception as error:  # it may be a file that was opened and not yet read
        raise UsageError(f"the picture cannot be read: {' '.join(str(error).split())[:200]}") from error


def _read(image: Image.Image) -> Picture:
    """Load a picture, turn it upright and bring its values to [0, 255]; reasons to refuse it have no subject."""
    notes = _frames(image)
    look, full = _LOOKS.get(image.format or ""), 65535.0
    if look is not None:
        full = look(image, notes)
    turn = _orientation(image)  # Pillow itself turns a TIFF while it loads, and then forgets that it did
    notes += _load(image)
    # A WEBP picture keeps its decoder, which keeps two more canvases.
    upright = image.copy() if image.format == "WEBP" else image
    if turn is None:
        notes.append("EXIF data that cannot be read were left out of account")
    elif turn in _TURNS:
        notes.append("turned upright as its EXIF data says")
        still = _orientation(image)
        upright = upright.transpose(_TURNS[still]) if still in _TURNS else upright
    profile = image.info.get("icc_profile")
    if isinstance(profile, bytes) and b"sRGB" not in profile and "sRGB".encode("utf-16-be") not in profile:
        notes.append("its colour profile was left out of account")
    return Picture(_levelled(upright, full, notes), tuple(notes))


def _load(image: Image.Image) -> list[str]:
    """Load the pixels; return what libtiff complained of about other things than them."""
    if image.format != "TIFF":
        image.load()
        return []
    with caught_stderr() as lines:
        image.load()
    for line in lines:
        if "Decode" in line.partition(":")[0]:  # it went on, with pixels that are wrong
            raise RefusedFileError(f"is damaged or cut short: {line[:200]}")
    return [f"libtiff complains: {line[:200]}" for line in lines[:1]]


def _frames(image: Image.Image) -> list[str]:
    if image.format == "TIFF":  # counting pages follows a chain that a hostile file can make very long
        return ["first of several pages"] if getattr(image, "is_animated", False) else []
    frames = getattr(image, "n_frames", 1)
    return [f"first of {frames} frames"] if frames > 1 else []


def _orientation(image: Image.Image) -> int | None:
    """Return what EXIF says, 1 if it says nothing, None if it cannot be read."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # Pillow raises many kinds on broken EXIF, and the pixels can be had without it
        return None


def _levelled(image: Image.Image, full: float, notes: list[str]) -> Image.Image:
    """Bring grey of more than 8 bits to [0, 255] without rounding; `full` is its white, negative if that is zero."""
    if image.mode == "F":
        shares = np.asarray(image)
        if not (np.isfinite(shares).all() and shares.min() >= 0 and shares.max() <= 1):
            raise RefusedFileError(f"holds floating-point values that do not all lie in [0, 1]; {_AS_NUMPY}")
        notes.append("floating-point values taken as shares of white")
        return Image.fromarray(shares * np.float32(255))
    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image)
    if values.min() < 0 or values.max() > abs(full):
        raise RefusedFileError(f"holds values in [{values.min()}, {values.max()}]; expected 0 to {abs(full):g}")
    notes.append(f"{'16' if abs(full) == 65535 else '12'} bits a pixel, kept without rounding")
    grey = values.astype(np.float32) * np.float32(255 / abs(full))
    if full < 0:
        notes.append("inverted, since its zero is white")
        grey = 255 - grey
    key = image.info.get("transparency")
    if isinstance(key, int):
        notes.append("transparency laid over white")
        grey[values == key] = 255
    return Image.fromarray(grey)


def _look_at_png(image: Any, notes: list[str]) -> float:
    raw = str(image.tile[0].args) if image.tile else ""
    if "16" in raw and not image.mode.startswith("I"):
        notes.append(_CUT)
        if image.info.pop("transparency", None) is not None:
            notes.append("its transparent colour was left out of account")
    elif "transparency" in image.info and image.mode == "L":  # the pixels are spread to 8 bits, the key is not
        image.info["transparency"] *= {"L;2": 85, "L;4": 17}.get(raw, 1)
    return 65535.0


def _look_at_jpeg(image: Any, notes: list[str]) -> float:  # noqa: ARG001  # one signature for all
    if image.mode == "CMYK" and "adobe" not in image.info:
        raise RefusedFileError("is a CMYK JPEG without Adobe's mark, so its inks may be inverted; save it as RGB")
    return 65535.0


def _look_at_tiff(image: Any, notes: list[str]) -> float:
    """Return white, as in _levelled; the cases were found by comparing Pillow's pixels with what was written."""
    tags = image.tag_v2
    bits, extra = max(tags.get(TiffImagePlugin.BITSPERSAMPLE, (1,))), tags.get(TiffImagePlugin.EXTRASAMPLES, ())
    white_is_zero = tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION, 0) == 0
    if image.mode == "I" or 2 in tags.get(TiffImagePlugin.SAMPLEFORMAT, (1,)):
        raise RefusedFileError(f"is a TIFF of signed or 32-bit whole numbers, whose white is not known; {_AS_NUMPY}")
    _refuse_misread(image, bits, white_is_zero)
    if bits > 8 and image.mode not in ("F", "I;16", "I;16B"):
        notes.append(_CUT)
    if 1 in extra:
        notes.append("colours divided by the alpha that they were multiplied with")
    if 0 in extra:
        notes.append(f"{list(extra).count(0)} unnamed channels beside the colours were left out")
    if image.mode == "RGBA" and not extra:
        notes.append("fourth channel, which the file does not name, taken as transparency")
    return (-1.0 if white_is_zero else 1.0) * (2.0**bits - 1 if bits == 12 else 65535.0)


def _refuse_misread(image: Any, bits: int, white_is_zero: bool) -> None:
    """Refuse the TIFF files that Pillow reads without complaint, and wrongly."""
    tags = image.tag_v2
    plain = tags.get(TiffImagePlugin.COMPRESSION, 1) == 1
    apart = tags.get(TiffImagePlugin.PLANAR_CONFIGURATION, 1) == 2
    if image.mode == "F" and (white_is_zero or (not plain and tags.prefix == b"MM")):
        raise RefusedFileError(f"is a floating-point TIFF that is inverted, or big-endian and compressed; {_AS_NUMPY}")
    if plain and apart and bits > 8:
        raise RefusedFileError(f"is a TIFF of 16 bits with its channels apart, which Pillow misreads; {_AS_NUMPY}")
    covered = sum((right - left) * (lower - upper) for _, (left, upper, right, lower), *_ in image.tile)
    if covered < image.width * image.height * (len(image.getbands()) if plain and apart else 1):
        raise RefusedFileError("is damaged or cut short: parts of the picture are missing")


_LOOKS: dict[str, Callable[[Any, list[str]], float]] = {
    "PNG": _look_at_png,
    "JPEG": _look_at_jpeg,
    "MPO": _look_at_jpeg,
    "TIFF": _look_at_tiff,
}


def _check_scans(path: Path) -> None:
    scans = path.read_bytes().count(b"\xff\xda")
    if scans > MAX_SCANS:
        raise RefusedFileError(f"is a JPEG of {scans} scans; expected at most {MAX_SCANS}")
