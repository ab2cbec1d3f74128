"""Inputs at the door: orientation, colour, size - to one tensor in input units."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from PIL import Image

from xai.errors import RefusedFileError, UsageError
from xai.models.card import Input
from xai.models.pictures.arrays import are_pixels, as_tensor, check_numbers, pixel_pictures, read_numbers
from xai.models.pictures.colour import channels_of, inked
from xai.models.pictures.dicom import read_dicom
from xai.models.pictures.reading import Picture, given_picture, read_picture
from xai.models.pictures.sniff import EXPECTED, kind_of
from xai.models.values import clipped

ImageLike: TypeAlias = str | Path | Image.Image | np.ndarray | torch.Tensor

_RESAMPLE = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}
_MAX_SCALED = 50_000_000


@dataclass(frozen=True)
class Prepared:
    """An input as the model gets it.

    Args:
        tensor: of the model's input shape, (channels, height, width) of a picture; float32 in input units.
        treatments: what was done to it, in order, in words.
    """

    tensor: torch.Tensor
    treatments: tuple[str, ...]


def read_image(path: Path) -> Image.Image:
    """Read a picture (PNG, JPEG, WEBP, BMP, TIFF, DICOM), upright.

    Raises:
        UsageError: there is no such file, or DICOM cannot be read here.
        RefusedFileError: it is no picture, unsafe or damaged.
    """
    return _read(path).image


def prepare(image: ImageLike, spec: Input) -> Prepared:
    """Turn a picture, or numbers, into the model's input.

    Args:
        image: a path; a PIL picture; an array of pixels, uint8 or uint16 (height, width[, channels]); or an array or
            tensor that already is the model's input, in input units. A file may hold any of these; see
            xai.models.pictures.
        spec: the input that the model declares.

    Raises:
        UsageError: the picture does not exist, or what was given is of another shape or range.
        RefusedFileError: the file is damaged, unsafe, or what it holds is no input of the model.
    """
    if isinstance(image, str | Path):
        return _from_file(Path(image), spec)
    if isinstance(image, Image.Image):
        return _from_picture(given_picture(image), spec)
    if isinstance(image, np.ndarray | torch.Tensor):
        return _from_numbers(image, spec)
    raise UsageError(f"expected a path, a PIL picture, an array or a tensor, received {type(image).__name__}")


def prepare_mask(path: Path, spec: Input) -> np.ndarray:
    """Return where a mask is not black, (height, width) bool, cut and scaled as its picture is.

    Args:
        path: a picture, or an array (height, width) of numbers that are not zero on the object.
        spec: the input that the model declares.

    Raises:
        UsageError: the file does not exist.
        RefusedFileError: the file is not a whole picture or array.
    """
    kind = kind_of(path)
    if kind == "npy" or kind == "npz" or kind == "pt":
        where = _marked(read_numbers(path, kind, _check_mask), path)
    else:
        where = inked(_read(path).image)
    drawn = Image.fromarray(np.where(where, np.uint8(255), np.uint8(0)))
    inside: np.ndarray = _resized([drawn], spec.model_copy(update={"interpolation": "nearest"}), [])[0].numpy() > 0
    return inside


def _read(path: Path) -> Picture:
    kind = kind_of(path)
    if kind not in ("picture", "dicom"):
        raise RefusedFileError(f"image {path} holds numbers and no picture; expected {EXPECTED}")
    return read_dicom(path) if kind == "dicom" else read_picture(path)


def _from_file(path: Path, spec: Input) -> Prepared:
    kind = kind_of(path)
    if kind == "picture" or kind == "dicom":
        return _from_picture(_read(path), spec)
    numbers = read_numbers(path, kind, lambda dtype, shape: check_numbers(dtype, shape, spec))
    try:
        return _from_numbers(numbers, spec)
    except UsageError as error:
        raise RefusedFileError(f"image {path}: {error}") from error


def _from_numbers(numbers: np.ndarray | torch.Tensor, spec: Input) -> Prepared:
    notes: list[str] = []
    if isinstance(numbers, torch.Tensor) and numbers.dtype in (torch.uint8, torch.uint16):
        numbers = numbers.numpy(force=True)
    if not (isinstance(numbers, np.ndarray) and are_pixels(numbers.dtype, spec)):
        tensor = as_tensor(numbers, spec, notes)
        return Prepared(tensor, tuple(notes))
    check_numbers(numbers.dtype, numbers.shape, spec)
    pictures = pixel_pictures(numbers, spec, notes)
    if isinstance(pictures, Image.Image):
        pictures = channels_of(pictures, spec.shape[0], notes)
    return _fitted(pictures, spec, notes)


def _from_picture(picture: Picture, spec: Input) -> Prepared:
    if spec.range is None or not spec.is_picture:
        takes = "values of no declared range" if spec.is_picture else f"inputs of shape {spec.shape}"
        raise UsageError(
            f"the model takes {takes}, so a picture cannot be mapped onto its input: declare shape (channels, height, "
            "width) and range of the input, or pass a tensor (in a file: .npy)"
        )
    notes = list(picture.treatments)
    return _fitted(channels_of(picture.image, spec.shape[0], notes), spec, notes)


def _fitted(pictures: list[Image.Image], spec: Input, notes: list[str]) -> Prepared:
    """Bring pictures that together have the model's channels to its size and range."""
    pixels, (low, high) = _resized(pictures, spec, notes), spec.span
    if (low, high) == (0.0, 1.0):
        return Prepared(pixels, tuple(notes))
    notes.append(f"black to white mapped onto {low:g} to {high:g}")
    return Prepared(clipped(pixels * (high - low) + low, low, high), tuple(notes))


def _check_mask(dtype: np.dtype, shape: tuple[int, ...]) -> None:
    if dtype.kind not in "biuf" or len(shape) not in (2, 3) or 0 in shape or (len(shape) == 3 and shape[0] != 1):
        raise UsageError(f"expected a mask of numbers (height, width), received {dtype} of {shape}")
    if shape[-1] * shape[-2] > (Image.MAX_IMAGE_PIXELS or np.inf):
        raise UsageError(f"the mask is too large: {shape}; expected at most {Image.MAX_IMAGE_PIXELS} pixels")


def _marked(values: np.ndarray | torch.Tensor, path: Path) -> np.ndarray:
    """Return where a mask's numbers (height, width), or a batch of one, are not zero."""
    numbers = values.double().numpy() if isinstance(values, torch.Tensor) else values
    if not np.isfinite(numbers).all():
        raise RefusedFileError(f"image {path}: the mask holds NaN or infinite values")
    marked: np.ndarray = (numbers[0] if numbers.ndim == 3 else numbers) != 0
    return marked


def _resized(pictures: list[Image.Image], spec: Input, notes: list[str]) -> torch.Tensor:
    """Return (channels, height, width) in [0, 1] at the model's size; a single grey picture is all channels."""
    channels, height, width = spec.shape
    resample, before = _RESAMPLE[spec.interpolation], pictures[0].size
    size, how = (width, height), "stretched"
    if spec.resize == "crop":
        scale = max(width / before[0], height / before[1]) / spec.crop_fraction
        size, how = (
            (max(width, round(before[0] * scale)), max(height, round(before[1] * scale))),
            "scaled and cut to the centre",
        )
        if size[0] * size[1] > _MAX_SCALED:
            raise RefusedFileError(f"a picture of {before[0]} x {before[1]} is too long and narrow for a centre cut")
    if not before == size == (width, height):
        notes.append(f"{before[0]} x {before[1]} {how} to {width} x {height} ({spec.interpolation})")
    left, top = round((size[0] - width) / 2), round((size[1] - height) / 2)
    planes = []
    for picture in pictures:
        scaled = picture.resize(size, resample) if size != picture.size else picture
        cut = scaled.crop((left, top, left + width, top + height)) if size != (width, height) else scaled
        pixels = (torch.from_numpy(np.array(cut, dtype=np.float32)) / 255.0).clamp(0, 1)
        planes.append(pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1))
    joined = torch.cat(planes)
    return joined.expand(channels, -1, -1).contiguous()
