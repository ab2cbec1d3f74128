"""DICOM images, by the optional package pydicom: uncompressed ones, without the tags that say whose they are."""

from __future__ import annotations

import importlib
import math
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from PIL import Image

from xai.errors import RefusedFileError, UsageError
from xai.models.pictures.reading import Picture

UNCOMPRESSED = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
SHAPE_TAGS = [
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "RescaleSlope",
    "RescaleIntercept",
    "WindowCenter",
    "WindowWidth",
    "VOILUTFunction",
    "ModalityLUTSequence",
    "VOILUTSequence",
    "PresentationLUTShape",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
]


def read_dicom(path: Path) -> Picture:
    """Read the first frame of a DICOM file.

    Grey values are rescaled by slope and intercept, and shown through the first window; where there is none, from the
    lowest to the highest. No other tag is read than these need.

    Raises:
        UsageError: pydicom is not installed.
        RefusedFileError: it is damaged, compressed, or of a kind that is not read here.
    """
    try:
        pydicom, pixels = importlib.import_module("pydicom"), importlib.import_module("pydicom.pixels")
    except ImportError as error:
        raise UsageError(f"image {path} is DICOM; to read it: pip install 'xai-verify[dicom]'") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom's warnings repeat values of the file
            return _read(path, pydicom, pixels)
    except RefusedFileError as error:
        raise RefusedFileError(f"image {path} {error}") from error
    except MemoryError as error:
        raise RefusedFileError(f"image {path} is too large: it asks for more memory than there is") from error
    except Exception as error:  # on broken files pydicom raises whatever its parsers run into
        raise RefusedFileError(f"image {path} is damaged or cut short: {type(error).__name__} in DICOM") from error


def _read(path: Path, pydicom: ModuleType, pixels: ModuleType) -> Picture:
    meta = pydicom.filereader.read_file_meta_info(path)
    syntax = meta.get("TransferSyntaxUID", "none")
    if syntax not in UNCOMPRESSED:
        known = getattr(syntax, "name", syntax)
        raise RefusedFileError(f"is DICOM in transfer syntax {known}; write it uncompressed (gdcmconv --raw)")
    head = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=SHAPE_TAGS)
    frames = _check_shape(head, path.stat().st_size)
    notes = ["DICOM"] if frames == 1 else ["DICOM", f"first of {frames} frames"]
    whole = pydicom.dcmread(path, specific_tags=[*SHAPE_TAGS, "PixelData"])
    array = pixels.pixel_array(whole, index=0)
    if head.SamplesPerPixel == 3:
        return Picture(Image.fromarray(array), tuple(notes))
    grey = _shown(array.astype(np.float64), head, notes)
    if head.PhotometricInterpretation == "MONOCHROME1":
        notes.append("MONOCHROME1 inverted, so that high is bright")
        grey = 1 - grey
    return Picture(Image.fromarray((255 * grey).astype(np.float32)), tuple(notes))


def _check_shape(head: Any, size: int) -> int:
    """Return the number of frames; refuse what is not read here, and what claims more pixels than the file holds."""
    kind, samples, bits = str(head.PhotometricInterpretation), int(head.SamplesPerPixel), int(head.BitsAllocated)
    colour = samples == 3 and bits == 8 and kind in ("RGB", "YBR_FULL")
    if not (colour or (samples == 1 and bits in (8, 16, 32) and kind in ("MONOCHROME1", "MONOCHROME2"))):
        raise RefusedFileError(
            f"is DICOM of {samples} x {bits} bits, {kind}; expected grey of up to 32 bits, or RGB of 8 bits a channel"
        )
    _check_shown(head)
    frames, area = int(head.get("NumberOfFrames", None) or 1), int(head.Rows) * int(head.Columns)
    if frames < 1 or area < 1 or area * frames * samples * bits // 8 > size:
        raise RefusedFileError(
            f"is damaged or cut short: {frames} frames of {head.Rows} x {head.Columns} in {size} bytes"
        )
    if area > (Image.MAX_IMAGE_PIXELS or math.inf):
        raise RefusedFileError(f"is too large: more than {Image.MAX_IMAGE_PIXELS} pixels")
    return frames


def _check_shown(head: Any) -> None:
    """Refuse what says how its values are to be shown in a way that is not followed here."""
    stored, highest = int(head.BitsStored), int(head.HighBit)
    if highest != stored - 1:
        raise RefusedFileError(f"is DICOM of {stored} bits a value, the highest bit {highest}; expected {stored - 1}")
    if "ModalityLUTSequence" in head:
        raise RefusedFileError("is DICOM with a modality look-up table; expected slope and intercept")
    if head.get("VOILUTSequence", None) and not _has_window(head):
        raise RefusedFileError("is DICOM that is shown through a look-up table; expected a window, or neither")
    if any(head.get(f"{of}FunctionalGroupsSequence", None) for of in ("Shared", "PerFrame")):
        raise RefusedFileError(
            "is enhanced DICOM, whose slopes and windows are of its frames; write each frame as a picture of its own"
        )
    if head.get("PresentationLUTShape", None) == "INVERSE" and head.PhotometricInterpretation != "MONOCHROME1":
        raise RefusedFileError(
            f"is DICOM whose presentation is inverse, and {head.PhotometricInterpretation}; expected MONOCHROME1 for it"
        )


def _has_window(head: Any) -> bool:
    return head.get("WindowCenter", None) is not None and head.get("WindowWidth", None) is not None


def _shown(values: np.ndarray, head: Any, notes: list[str]) -> np.ndarray:
    """Return shares of white (height, width), as DICOM PS3.3 C.11.1 and C.11.2 show stored values."""
    padding = _padding(values, head)
    slope, intercept = float(head.get("RescaleSlope", None) or 1), float(head.get("RescaleIntercept", None) or 0)
    if (slope, intercept) != (1, 0):
        notes.append(f"rescaled by slope {slope:g} and intercept {intercept:g}")
        values = values * slope + intercept
    if not np.isfinite(values).all():
        raise RefusedFileError("is DICOM whose rescaled values are not finite")
    if not _has_window(head):
        counted = values if padding.all() else values[~padding]
        low, high = float(counted.min()), float(counted.max())
        notes += ["padding is left out of the range"] if counted.size < values.size else []
        notes.append(f"no window: shown from its lowest value, {low:g}, to its highest, {high:g}")
        return np.clip((values - low) / (high - low), 0, 1) if high > low else np.zeros_like(values)
    centre, width = _first(head.WindowCenter), _first(head.WindowWidth)
    function = str(head.get("VOILUTFunction", None) or "LINEAR")
    notes.append(f"window of centre {centre:g} and width {width:g} ({function})")
    if (count := _count(head.WindowCenter)) > 1:
        notes.append(f"the first of {count} windows")
    if head.get("VOILUTSequence", None):
        notes.append("its look-up table is not used beside the window")
    return windowed(values, centre, width, function)


def windowed(values: np.ndarray, centre: float, width: float, function: str) -> np.ndarray:
    """Return shares of white through a window; see DICOM PS3.3 C.11.2.1.2 and C.11.2.1.3.

    Raises:
        RefusedFileError: centre or width are no numbers that a window can have, or the function is not known.
    """
    least = {"LINEAR": 1.0, "LINEAR_EXACT": 0.0, "SIGMOID": 0.0}.get(function)
    if least is None or not (math.isfinite(centre) and math.isfinite(width)) or width < least or width == 0:
        raise RefusedFileError(f"is DICOM with a window of centre {centre:g} and width {width:g}, {function}")
    if function == "SIGMOID":
        shares: np.ndarray = 1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -700, 700)))
        return shares
    if function == "LINEAR":
        centre, width = centre - 0.5, width - 1
    if width == 0:
        return (values > centre).astype(np.float64)
    return np.clip((values - centre) / width + 0.5, 0, 1)


def _padding(values: np.ndarray, head: Any) -> np.ndarray:
    """Return where stored values (height, width) stand for no picture; see DICOM PS3.3 C.7.5.1.1.2."""
    value = head.get("PixelPaddingValue", None)
    if value is None:
        return np.zeros(values.shape, dtype=bool)
    limit = head.get("PixelPaddingRangeLimit", None)
    low, high = sorted((int(value), int(value if limit is None else limit)))
    return (values >= low) & (values <= high)


def _count(value: Any) -> int:
    return 1 if isinstance(value, str | int | float) else len(value)


def _first(value: Any) -> float:
    return float(value if isinstance(value, str | int | float) else value[0])
