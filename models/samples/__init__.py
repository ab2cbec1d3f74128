"""Bundled samples: a folder each, with its network, weights, card, pictures and the script that made them."""

from __future__ import annotations

from pathlib import Path


def sample_names() -> list[str]:
    """Return the names of the bundled samples."""
    return sorted(path.parent.name for path in Path(__file__).parent.glob("*/model.yaml"))


def sample_masks(picture: Path) -> Path | None:
    """Return the folder that says where the objects are, for a picture of a bundled sample, if it is known."""
    folder = picture.resolve().parents[1] / "masks"
    return folder if folder.is_dir() and folder.parents[1] == Path(__file__).resolve().parent else None


def sample_images(name: str) -> list[Path]:
    """Return the pictures of a bundled sample."""
    return sorted((Path(__file__).parent / name / "images").glob("*.png"))
