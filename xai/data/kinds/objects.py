"""Live pictures: a list of them, a torch Dataset, or a single one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image
from torch.utils.data import Dataset, IterableDataset

from xai.data.contents import Content, Objects
from xai.data.kinds.base import Kind, no_labels
from xai.data.samples import list_pictures
from xai.data.stacks import is_pair
from xai.errors import UsageError
from xai.models.card import Input


class Live(Kind):
    """A list of pictures (paths and folders, too), or a torch Dataset of pictures or of (picture, label)."""

    name = "objects"
    summary = "a list of pictures, or a torch Dataset of (picture, label)"

    def recognises(self, source: object) -> bool:
        """Say whether it is a picture, a list, or a Dataset; a tuple of an array and labels is another kind."""
        if isinstance(source, Dataset | Image.Image | list):
            return True
        return isinstance(source, tuple) and not is_pair(source)

    def open(self, source: Any, spec: Input, labels: Path | None) -> Content:  # noqa: ARG002  # told when read
        """Return the items."""
        no_labels("a live data set", labels)
        if isinstance(source, Image.Image):
            return Objects([source], "image")
        if isinstance(source, list | tuple):
            return Objects([picture for one in source for picture in _pictures(one)], "image")
        if isinstance(source, IterableDataset) or not hasattr(source, "__len__"):
            raise UsageError(
                f"expected a Dataset with a length and items by index, received {type(source).__name__}; "
                "make a list of it, so that it can be read in shards"
            )
        return Objects(source, "item")


def _pictures(one: Any) -> list[Any]:
    """Return the pictures of an element: those of a folder; a pair of a picture and its label stays as it is."""
    return [one] if isinstance(one, tuple) else list(list_pictures(one))
