"""Pictures and tensor files as samples: each with an id that is unique within a run."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path

import numpy as np
import torch

from xai.errors import RefusedFileError, UsageError, unknown
from xai.models.images import ImageLike, prepare_mask
from xai.models.model import Model
from xai.models.safety import sha256
from xai.models.samples import sample_images, sample_masks, sample_names
from xai.text import storable

# A folder may hold the model too, so a tensor of torch.save (.pt) is read only where it is named.
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".npy", ".npz", ".dcm")


@dataclass(frozen=True)
class Sample:
    """One input, ready for the model.

    Args:
        id: unique within the run.
        source: the file or object it came from.
        digest: sha256 of the file, of its numbers in a file of many, else of the prepared tensor.
        input: of the model's input shape, (channels, height, width) of a picture; float32 in input units.
        treatments: what was done to the picture.
        mask: where the object is, (height, width) bool, if that is known.
        label: index of its class among the model's, if that is known.
        group: what it belongs with (a patient, a drive, a site), if that is known.
    """

    id: str
    source: str
    digest: str
    input: torch.Tensor
    treatments: tuple[str, ...]
    mask: np.ndarray | None = None
    label: int | None = None
    group: str | None = None


def read_samples(
    images: ImageLike | Iterable[ImageLike], model: Model, masks: str | Path | None = None
) -> Iterator[Sample]:
    """Yield a sample for each picture; folders give the pictures in them, "sample:NAME" the bundled ones.

    Args:
        images: what to read.
        model: whose input they become.
        masks: folder of pictures or arrays that say where the objects are: not black, of the same names; bundled
            samples may bring theirs.

    Raises:
        UsageError: a path or name does not exist, a folder holds no picture, or nothing was given.
        RefusedFileError: a file is damaged, unsafe, or no input of the model.
    """
    if masks is not None and not Path(masks).is_dir():
        raise UsageError(f"{masks} is not a folder of masks")
    taken: set[str] = set()
    for image in list_pictures(images):
        prepared = model.prepare(image)
        path = Path(image) if isinstance(image, str | Path) else None
        name = free_name(storable(path.stem) if path else "image", taken)
        taken.add(name)
        yield Sample(
            id=name,
            source=storable(str(image)) if path else f"<{type(image).__name__}>",
            digest=sha256(path) if path else hashlib.sha256(prepared.tensor.numpy().tobytes()).hexdigest(),
            input=prepared.tensor,
            treatments=prepared.treatments,
            mask=_mask(path, masks, model),
        )
    if not taken:
        raise UsageError("no picture was given")


def _mask(path: Path | None, masks: str | Path | None, model: Model) -> np.ndarray | None:
    """Return the mask of a picture's file, if there is one."""
    folder = Path(masks) if masks is not None else sample_masks(path) if path else None
    if folder is None or path is None:
        return None
    named = (folder / f"{path.stem}{suffix}" for suffix in SUFFIXES)
    found = next((file for file in named if file.is_file()), None)
    if found is not None and not _is_picture(found, folder):
        raise RefusedFileError(f"mask {found} is a link that leads out of its folder; put the file there")
    return prepare_mask(found, model.input) if found else None


def free_name(name: str, taken: set[str]) -> str:
    """Return the name, or the first of name-2, name-3, ... that is not taken."""
    candidates = chain([name], (f"{name}-{number}" for number in count(2)))
    return next(candidate for candidate in candidates if candidate not in taken)


def left_out(images: ImageLike | Iterable[ImageLike]) -> list[str]:
    """Return what folders hold besides pictures, in words: nobody shall believe that it was covered."""
    if isinstance(images, str | Path):
        folder = Path(images)
        others = sorted(p for p in folder.iterdir() if not _is_picture(p, folder)) if folder.is_dir() else []
        outside = [path.name for path in others if _is_picture(path, None)]
        foreign = [path.name for path in others if path.name not in outside]
        return told_left_out(folder, foreign, outside)
    if isinstance(images, list | tuple):  # of an iterator nothing may be taken
        return [line for image in images for line in left_out(image)]
    return []


def told_left_out(folder: str | Path, foreign: list[str], outside: list[str]) -> list[str]:
    """Say which names in a folder were left out: what is no picture, and links that lead out of it."""
    reasons = ((foreign, f"they are no {', '.join(SUFFIXES)}"), (outside, "they are links that lead out of it"))
    return [
        storable(f"left out of folder {folder}, since {reason}: {_few(names)}") for names, reason in reasons if names
    ]


def _few(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _is_picture(path: Path, folder: Path | None) -> bool:
    """Say whether a file is taken from a folder; None for wherever it lies."""
    if path.suffix.lower() not in SUFFIXES or not path.is_file():
        return False
    return folder is None or path.resolve().is_relative_to(folder.resolve())


def list_pictures(images: ImageLike | Iterable[ImageLike]) -> Iterator[ImageLike]:
    """Take lists, folders and samples apart; raise UsageError for what does not exist. Nothing is read yet."""
    if isinstance(images, str) and images.startswith("sample:"):
        name, part = images.removeprefix("sample:").partition(":")[::2]
        if part and name in sample_names():
            raise UsageError(
                f"{images} is a part of the sample's data set, as --summary, --reference and other verbs take it; "
                f"its single pictures are sample:{name}"
            )
        if name not in sample_names():
            raise unknown("sample", name, sample_names())
        yield from sample_images(name)
    elif isinstance(images, str | Path) and Path(images).is_dir():
        files = sorted(file for file in Path(images).iterdir() if _is_picture(file, Path(images)))
        if not files:
            raise UsageError(f"folder {images} holds no picture ({', '.join(SUFFIXES)})")
        yield from files
    elif isinstance(images, Iterable) and not isinstance(images, str | np.ndarray | torch.Tensor):
        for image in images:
            yield from list_pictures(image)
    else:
        if isinstance(images, str | Path) and not Path(images).exists():
            raise UsageError(f"image {images} does not exist")
        yield images
