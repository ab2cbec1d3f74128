"""Bundled samples: a folder each, with its network, weights, card, pictures and the script that made them."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def sample_names() -> list[str]:
    """Return the names of the bundled samples."""
    return sorted(path.parent.name for path in Path(__file__).parent.glob("*/model.yaml"))


def sample_folder(name: str) -> Path:
    """Return the folder of a bundled sample."""
    return Path(__file__).parent / name


def sample_masks(picture: Path) -> Path | None:
    """Return the folder that says where the objects are, for a picture of a bundled sample, if it is known."""
    folder = picture.resolve().parents[1] / "masks"
    return folder if folder.is_dir() and folder.parents[1] == Path(__file__).resolve().parent else None


def sample_held_out(name: str, first: int, last: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return pictures of a bundled sample that no training saw, (n, channels, height, width), and labels (n,).

    Args:
        name: of the sample.
        first: number of the first one.
        last: number after the last one.
    """
    found: tuple[torch.Tensor, torch.Tensor] = import_module(f"{__name__}.{name}").held_out(first, last)
    return found


def sample_images(name: str) -> list[Path]:
    """Return the pictures of a bundled sample."""
    return sorted((Path(__file__).parent / name / "images").glob("*.png"))
