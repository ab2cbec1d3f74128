"""Pictures at the door: orientation, colour, size - to one tensor in input units."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from xai.errors import RefusedFileError, UsageError
from xai.models.card import Input

FORMATS = ("PNG", "JPEG", "WEBP")
ImageLike: TypeAlias = str | Path | Image.Image | np.ndarray | torch.Tensor

_RESAMPLE = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}
_ORIENTATION = 0x0112
_MAX_SCALED = 50_000_000
_SIXTEEN_BIT = ("I", "I;16", "I;16B", "I;16L")


@dataclass(frozen=True)
class Prepared:
    """A picture as the model gets it.

    Args:
        tensor: (channels, height, width) float32 in input units.
        treatments: what was done to the picture, in order, in words.
    """

    tensor: torch.Tensor
    treatments: tuple[str, ...]


def read_image(path: Path) -> Image.Image:
    """Read a PNG, JPEG or WEBP file; raise UsageError if it is missing, RefusedFileError if it is damaged."""
    if not path.is_file():
        raise UsageError(f"image {path} does not exist, or is no file")
    if path.stat().st_size == 0:
        raise RefusedFileError(f"image {path} is empty")
    try:
        with warnings.catch_warnings():
            # Pillow only warns of a decompression bomb below twice its limit.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as image:
                image.info["frames"] = getattr(image, "n_frames", 1)
                image.load()
    except UnidentifiedImageError as error:
        raise RefusedFileError(
            f"image {path} is not a picture that is read here; expected {', '.join(FORMATS)}"
        ) from error
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise RefusedFileError(f"image {path} is too large: more than {Image.MAX_IMAGE_PIXELS} pixels") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise RefusedFileError(f"image {path} is damaged or cut short: {' '.join(str(error).split())}") from error
    return image


def prepare(image: ImageLike, spec: Input) -> Prepared:
    """Turn a picture into the model's input.

    Args:
        image: a path; a PIL picture; an array of bytes (height, width[, 3]); or a tensor or float array that already
            is the model's input, (channels, height, width) in input units.
        spec: the input that the model declares.

    Raises:
        UsageError: the picture does not exist, or a tensor of another shape or range was given.
        RefusedFileError: the file is not a whole picture.
    """
    if isinstance(image, str | Path):
        image = read_image(Path(image))
    if isinstance(image, np.ndarray):
        image = _from_array(image)
    if isinstance(image, torch.Tensor):
        return Prepared(_checked(image, spec), ("used as given, in input units",))
    if not isinstance(image, Image.Image):
        raise UsageError(f"expected a path, a PIL picture, an array or a tensor, received {type(image).__name__}")
    if spec.range is None or not spec.is_picture:
        raise UsageError(
            f"the model takes {'values' if spec.is_picture else 'inputs of shape'} "
            f"{'of no declared range' if spec.is_picture else spec.shape}, so a picture cannot be mapped onto its "
            "input: declare shape (channels, height, width) and range of the input, or pass a tensor"
        )
    notes: list[str] = []
    pixels = _resized(_coloured(_oriented(image, notes), spec.shape[0], notes), spec, notes)
    low, high = spec.range
    return Prepared(pixels * (high - low) + low if (low, high) != (0.0, 1.0) else pixels, tuple(notes))


def prepare_mask(path: Path, spec: Input) -> np.ndarray:
    """Return where a mask's pixels are not black, (height, width) bool, cut and scaled as its picture is.

    Raises:
        UsageError: the file does not exist.
        RefusedFileError: the file is not a whole picture.
    """
    grey = _oriented(read_image(path), []).convert("L")
    nearest = spec.model_copy(update={"interpolation": "nearest"})
    inside: np.ndarray = _resized(grey, nearest, [])[0].numpy() > 0
    return inside


def _from_array(array: np.ndarray) -> Image.Image | torch.Tensor:
    if array.dtype != np.uint8:
        return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
    try:
        return Image.fromarray(array)
    except (TypeError, ValueError) as error:
        raise UsageError(f"expected bytes of shape (height, width[, 3]), received {array.shape}") from error


def _checked(tensor: torch.Tensor, spec: Input) -> torch.Tensor:
    tensor = tensor.detach().to("cpu", torch.float32)
    if tensor.ndim == 4 and tensor.shape[0] == 1:
        tensor = tensor[0]
    if tuple(tensor.shape) != spec.shape:
        raise UsageError(f"the model takes inputs of shape {spec.shape}, received a tensor of {tuple(tensor.shape)}")
    if not torch.isfinite(tensor).all():
        raise UsageError("the input tensor holds NaN or infinite values")
    low, high = spec.range or (-np.inf, np.inf)
    if tensor.min() < low - 1e-6 or tensor.max() > high + 1e-6:
        raise UsageError(
            f"the model takes values in [{low:g}, {high:g}], received [{tensor.min():.4g}, {tensor.max():.4g}]; "
            "give pixels, not normalised values: the model's own mean and std are applied inside"
        )
    return tensor.clone()


def _oriented(image: Image.Image, notes: list[str]) -> Image.Image:
    """Take the first frame, upright as EXIF says."""
    frames = image.info["frames"] if "frames" in image.info else getattr(image, "n_frames", 1)
    if frames > 1:
        notes.append(f"first of {frames} frames")
    try:
        turned = image.getexif().get(_ORIENTATION, 1) in range(2, 9)
        upright = ImageOps.exif_transpose(image)
    except Exception:  # Pillow raises many kinds on broken EXIF, and the pixels are there already
        notes.append("EXIF data that cannot be read were left out of account")
        return image
    if turned:
        notes.append("turned upright as its EXIF data says")
    return upright


def _coloured(image: Image.Image, channels: int, notes: list[str]) -> Image.Image:
    """Return a picture of mode L, RGB or F (grey in [0, 255]) with that many channels."""
    if channels not in (1, 3):
        raise UsageError(f"the model takes {channels} channels and pictures have 1 or 3; pass a tensor instead")
    if image.mode in _SIXTEEN_BIT:
        notes.append("16 bits a pixel, kept without rounding")
        return Image.fromarray(np.asarray(image, dtype=np.float32) * np.float32(255.0 / 65535.0))
    if image.has_transparency_data:
        notes.append("transparency laid over white")
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    wanted = "L" if channels == 1 else "RGB"
    if image.mode != wanted:
        notes.append(f"{image.mode} converted to {'grey' if wanted == 'L' else 'RGB'}")
        image = image.convert(wanted)
    return image


def _resized(image: Image.Image, spec: Input, notes: list[str]) -> torch.Tensor:
    """Return (channels, height, width) in [0, 1] at the model's size."""
    _, height, width = spec.shape
    resample = _RESAMPLE[spec.interpolation]
    before = size = image.size
    if spec.resize == "crop":
        scale = max(width / image.width, height / image.height) / spec.crop_fraction
        size = (max(width, round(image.width * scale)), max(height, round(image.height * scale)))
        if size[0] * size[1] > _MAX_SCALED:
            raise RefusedFileError(f"a picture of {before[0]} x {before[1]} is too long and narrow for a centre cut")
        left, top = round((size[0] - width) / 2), round((size[1] - height) / 2)
        image = image.resize(size, resample) if size != image.size else image
        image = image.crop((left, top, left + width, top + height)) if size != (width, height) else image
        how = "scaled and cut to the centre"
    else:
        image = image.resize((width, height), resample) if image.size != (width, height) else image
        how = "stretched"
    if not before == size == (width, height):
        notes.append(f"{before[0]} x {before[1]} {how} to {width} x {height} ({spec.interpolation})")
    pixels = (torch.from_numpy(np.array(image, dtype=np.float32)) / 255.0).clamp(0, 1)
    return pixels.repeat(spec.shape[0], 1, 1) if pixels.ndim == 2 else pixels.permute(2, 0, 1).contiguous()
