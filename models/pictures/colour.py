"""Channels: from a picture's to the model's."""

from __future__ import annotations

import numpy as np
from PIL import Image

from xai.errors import UsageError


def channels_of(image: Image.Image, channels: int, notes: list[str]) -> list[Image.Image]:
    """Return pictures (modes L, RGB, or F for grey in [0, 255]) that have that many channels together.

    A single grey one stands for all three colours too.

    Raises:
        UsageError: the model takes a number of channels that this picture does not have.
    """
    image = _plain(image, notes)
    if channels == 2 and image.mode == "LA":
        notes.append("grey and alpha used as they are")
        return list(image.split())
    if channels == 4 and image.has_transparency_data:
        notes.append("red, green, blue and alpha used as they are" + _from(image.mode, "RGBA"))
        return list(image.convert("RGBA").split())
    if channels not in (1, 3):
        raise UsageError(
            f"the model takes {channels} channels and a picture of mode {image.mode} cannot give them; pass a tensor, "
            f"or an array of bytes, with {channels} channels (in a file: .npy)"
        )
    image = opaque(image, notes)
    wanted = "L" if channels == 1 else "RGB"
    if image.mode in (wanted, "F"):
        return [image]
    notes.append(f"{image.mode} converted to {'grey' if wanted == 'L' else 'RGB'}{_how(image.mode)}")
    return [image.convert(wanted)]


def opaque(image: Image.Image, notes: list[str]) -> Image.Image:
    """Return the picture as it looks on white paper."""
    if not image.has_transparency_data or image.mode == "F":
        return image
    notes.append("transparency laid over white")
    rgba = image if image.mode == "RGBA" else image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")


def inked(image: Image.Image) -> np.ndarray:
    """Return where a picture is not black, (height, width) bool, whatever its alpha."""
    if image.mode == "F":
        grey: np.ndarray = np.asarray(image)
        return grey > 0
    colours = np.asarray(_plain(image, []).convert("RGBA"))[..., :3]
    lit: np.ndarray = np.logical_or.reduce(colours > 0, axis=-1)
    return lit


def _plain(image: Image.Image, notes: list[str]) -> Image.Image:
    """Return a picture of a mode that converts to any other: Pillow knows no way from two of them to grey."""
    if image.mode == "LAB":
        notes.append("LAB converted to RGB")
        return image.convert("RGB")
    return image.convert("LA") if image.mode == "La" else image


def _from(mode: str, wanted: str) -> str:
    return "" if mode == wanted else f" ({mode} converted to {wanted})"


def _how(mode: str) -> str:
    return " by formula, without a colour profile" if mode == "CMYK" else ""
