"""Arrays and tensors: what they may hold, and how they are read from a file without running it."""

from __future__ import annotations

import math
import pickle
import re
import warnings
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import torch
from PIL import Image

from xai.errors import RefusedFileError, UsageError
from xai.models.card import Input
from xai.models.safety import peek
from xai.models.values import clipped, rounding

Check = Callable[[np.dtype[Any], tuple[int, ...]], None]
_FULL = {"uint8": 255, "uint16": 65535}
_MODES = (2, 3, 4)  # channels that a picture of bytes may have: grey and alpha, RGB, RGBA
_PLAIN = re.compile("u?int(8|16|32|64)|b?float16|float(32|64)|bool")


def are_pixels(dtype: np.dtype[Any], spec: Input) -> bool:
    """Say whether numbers of that type are a picture's, 0 to 255 or 65535, and not the model's own."""
    return dtype.name in _FULL and spec.is_picture and spec.range is not None


def check_numbers(dtype: np.dtype[Any], shape: tuple[int, ...], spec: Input) -> None:
    """Raise UsageError unless an array of that type and shape can be an input: before any of it is read."""
    if dtype.hasobject:
        raise UsageError("it holds Python objects (dtype object), and opening them could run code; save numbers")
    if dtype.kind not in "biuf":
        raise UsageError(f"expected numbers, received dtype {dtype}")
    if are_pixels(dtype, spec):
        if math.prod(shape) > (Image.MAX_IMAGE_PIXELS or math.inf) or 0 in shape:
            raise UsageError(f"an array of {shape} is no picture; expected up to {Image.MAX_IMAGE_PIXELS} numbers")
    elif shape not in (spec.shape, (1, *spec.shape)):
        raise UsageError(f"the model takes inputs of shape {spec.shape}, received a tensor of {shape}")


def pixel_pictures(array: np.ndarray, spec: Input, notes: list[str]) -> list[Image.Image] | Image.Image:
    """Return an array of uint8 or uint16 as a picture with colours and alpha, or as one grey picture a channel.

    Channels stand last, (height, width[, channels]); they stand first where the shape is the model's own, or where the
    first number alone can be one of channels. A batch of one may stand before.

    Raises:
        UsageError: the shape is none of these.
    """
    received, array = array.shape, array[0] if array.ndim == 4 and len(array) == 1 else array
    own = (spec.shape[0], 1)
    likely = (*own, *_MODES) if array.dtype == np.uint8 else own
    if array.ndim == 3 and (array.shape == spec.shape or (array.shape[2] not in likely and array.shape[0] in likely)):
        array = array.transpose(1, 2, 0)
        order = "(channels, height, width)"
    else:
        order = "(height, width)" if array.ndim == 2 else "(height, width, channels)"
    array = array[..., None] if array.ndim == 2 else array
    if array.ndim != 3 or array.shape[2] not in likely:
        raise UsageError(
            f"expected {array.dtype} of shape (height, width[, channels]) for a model of {spec.shape[0]} channels, "
            f"received {received}"
        )
    full = _FULL[array.dtype.name]
    notes.append(f"{array.dtype} {order} taken as pixels from 0 to {full}")
    if array.shape[2] not in own:
        return Image.fromarray(np.ascontiguousarray(array))
    planes = (np.ascontiguousarray(plane) for plane in np.moveaxis(array, 2, 0))
    return [Image.fromarray(p if full == 255 else p.astype(np.float32) * np.float32(255 / full)) for p in planes]


def as_tensor(values: np.ndarray | torch.Tensor, spec: Input, notes: list[str]) -> torch.Tensor:
    """Return numbers that are the model's input already, as float32 of its shape on the CPU.

    Raises:
        UsageError: they are of another shape, no plain numbers, not finite, or outside the range.
    """
    if isinstance(values, np.ndarray):
        check_numbers(values.dtype, values.shape, spec)
        with np.errstate(over="ignore"):  # what overflows is infinite, and refused below
            tensor = torch.from_numpy(np.array(values, dtype=np.float32, order="C"))
        before = values.dtype.name
    else:
        check_numbers(numpy_type(values), tuple(values.shape), spec)
        tensor, before = values.detach().to("cpu", torch.float32), str(values.dtype).removeprefix("torch.")
    notes.append("used as given, in input units")
    if before != "float32":
        notes.append(f"{before} converted to float32")
    if tuple(tensor.shape) != spec.shape:
        notes.append("taken out of a batch of one")
        tensor = tensor[0]
    return _checked(tensor, spec)


def numpy_type(tensor: torch.Tensor) -> np.dtype[Any]:
    """Return what numpy calls a tensor's type; raise UsageError if it is not dense, or not of plain numbers."""
    name = str(tensor.dtype).removeprefix("torch.")
    if tensor.layout != torch.strided or not _PLAIN.fullmatch(name) or tensor.device.type == "meta":
        raise UsageError(f"expected a dense tensor of numbers, received {tensor.layout}, {tensor.dtype}")
    return np.dtype("float32" if name == "bfloat16" else name)


def _checked(tensor: torch.Tensor, spec: Input) -> torch.Tensor:
    """Return a copy, in which what lies outside of the range by rounding lies within; refuse what is farther."""
    if not torch.isfinite(tensor).all():
        raise UsageError("the input tensor holds NaN or infinite values")
    if spec.range is None:
        return tensor.clone()
    low, high = spec.range
    slack = rounding(low, high)
    if tensor.min() < low - slack or tensor.max() > high + slack:
        raise UsageError(
            f"the model takes values in [{low:g}, {high:g}], received [{tensor.min():.4g}, {tensor.max():.4g}]; "
            "give pixels, not normalised values: the model's own mean and std are applied inside"
        )
    return clipped(tensor, low, high)


def read_numbers(path: Path, kind: Literal["npy", "npz", "pt"], check: Check) -> np.ndarray | torch.Tensor:
    """Read the one array in a file. Nothing in it is run.

    Args:
        path: the file.
        kind: what it is, told from its bytes.
        check: raises UsageError if an array of a type and shape is not wanted; asked before memory is taken for it.

    Raises:
        RefusedFileError: it is damaged, unsafe, holds not exactly one array, or one that is not wanted.
    """
    try:
        if kind == "pt":
            return _read_pt(path, check)
        if kind == "npz":
            return _read_npz(path, check)
        with path.open("rb") as file:
            return read_npy(file, path.stat().st_size, check)
    except (RefusedFileError, UsageError) as error:
        raise RefusedFileError(f"image {path}: {error}") from error
    except MemoryError as error:
        raise RefusedFileError(f"image {path} is too large: it asks for more memory than there is") from error
    except Exception as error:  # parsers of broken files raise whatever they run into
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise RefusedFileError(f"image {path} is damaged or cut short: {reason}") from error


def read_npy(file: IO[bytes], size: int, check: Check) -> np.ndarray:
    """Read an array in numpy's format, of which `size` bytes are declared; no more than its header says is taken."""
    dtype, shape, columns_first = npy_header(file, size, check)
    content = file.read(math.prod(shape) * dtype.itemsize)
    if file.read(1):  # where the file is compressed, this checks its sum too
        raise RefusedFileError("it is longer than it says")
    return np.frombuffer(content, dtype=dtype).reshape(shape, order="F" if columns_first else "C")


def npy_header(file: IO[bytes], size: int, check: Check) -> tuple[np.dtype[Any], tuple[int, ...], bool]:
    """Return type, shape and whether columns come first; the file then stands at its first number.

    Args:
        file: an array in numpy's format.
        size: its bytes.
        check: raises UsageError if an array of a type and shape is not wanted.

    Raises:
        RefusedFileError: it is of another version, or does not have the bytes that it needs.
    """
    header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    version = np.lib.format.read_magic(file)
    if version not in header:
        raise RefusedFileError(f"expected version 1.0 or 2.0 of the .npy format, received {version[0]}.{version[1]}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Python 2, or of syntax in a broken header
        shape, columns_first, dtype = header[version](file)
    if any(number < 0 for number in shape):
        raise RefusedFileError(f"expected sizes, received a shape of {shape}")
    check(dtype, shape)
    declared = math.prod(shape) * dtype.itemsize
    if declared != size - file.tell():
        raise RefusedFileError(
            f"expected {declared} bytes for {dtype} of {shape}, received {size - file.tell()}: damaged or cut short"
        )
    return dtype, shape, columns_first


def _read_npz(path: Path, check: Check) -> np.ndarray:
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if len(entries) != 1:
            raise RefusedFileError(f"expected one array, received {_few([entry.filename for entry in entries])}")
        if entries[0].compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise RefusedFileError("it is compressed in another way than numpy does")
        with archive.open(entries[0]) as file:
            return read_npy(file, entries[0].file_size, check)


def _read_pt(path: Path, check: Check) -> torch.Tensor:
    if any(name.startswith("code/") for name in peek(path, "image").names):
        raise RefusedFileError("it is a TorchScript program; expected one tensor, as torch.save writes it")
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise RefusedFileError("it is compressed, which torch.save never does")
        if sum(entry.file_size for entry in entries) > path.stat().st_size:
            raise RefusedFileError("its entries lie over each other")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        raise RefusedFileError(
            f"it holds Python objects besides tensors{f' ({found[1]})' if found else ''}, and opening them could run "
            "code; save the tensor alone"
        ) from error
    if type(content) not in (torch.Tensor, torch.nn.Parameter):
        raise RefusedFileError(f"expected one tensor, as torch.save writes it, received {type(content).__name__}")
    check(numpy_type(content), tuple(content.shape))
    tensor: torch.Tensor = content.detach()
    return tensor


def _few(names: Sequence[str]) -> str:
    shown = ", ".join(name.removesuffix(".npy") for name in names[:5])
    return f"{len(names)}: {shown}" + (f" and {len(names) - 5} more" if len(names) > 5 else "")
