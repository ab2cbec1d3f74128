"""What data sets stream from: entries by index, cheap to hold and to hand to another process."""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xai.data.labels import Label, plain
from xai.data.samples import free_name
from xai.data.stacks import oriented, prepare_stack
from xai.data.stored import Stored
from xai.errors import RefusedFileError
from xai.models.card import Input
from xai.models.images import ImageLike, Prepared
from xai.text import storable


@dataclass(frozen=True)
class Entry:
    """One input as its data set gives it.

    Args:
        image: what `xai.models.images.prepare` takes.
        label: where only the entry tells it.
        digest: sha256 of what was stored, "" where it is taken from the file or of the prepared tensor.
        treatments: what was done to the image, in words.
    """

    image: ImageLike
    label: Label = None
    digest: str = ""
    treatments: tuple[str, ...] = ()


class Content(ABC):
    """Entries by index. What can be said of them without reading them is told before they are read."""

    labels: Sequence[Label] | np.ndarray | None = None  # as they are written; None if there are none, or unknown
    notes: tuple[str, ...] = ()
    spread = False  # whether a part is to be taken evenly from the labels: a folder's order is by class

    @abstractmethod
    def __len__(self) -> int:
        """Return how many entries there are."""

    @abstractmethod
    def id(self, index: int) -> str:
        """Return what the entry is called: unique, and the same wherever the data lie."""

    @abstractmethod
    def source(self, index: int) -> str:
        """Return where the entry comes from, for people."""

    @abstractmethod
    def entry(self, index: int) -> Entry:
        """Return the entry; raise an XaiError, OSError or ValueError if it cannot be read."""

    @abstractmethod
    def stamp(self, index: int) -> str:
        """Return what changes when the entry was written anew, without reading it."""

    def group(self, index: int) -> str | None:  # noqa: ARG002  # most data have no groups
        """Return what the entry belongs with."""
        return None

    def mask(self, index: int) -> Path | None:  # noqa: ARG002  # most data have no masks
        """Return the file that says where the object is."""
        return None

    def many(self, indices: Sequence[int], spec: Input) -> tuple[Prepared, list[str]] | None:  # noqa: ARG002
        """Return entries prepared together, (n, *shape), and a digest each; None where they are taken one by one."""
        return None


class Files(Content):
    """Files named below a folder, with what is known of each; some hundred bytes a file.

    Args:
        root: the folder that the names are relative to.
        names: of the files.
        labels: a label each.
        groups: a group each, None where there is none.
        masks: a mask's file each, relative to root.
        notes: what must be said of the whole.
        spread: whether a part is to be taken evenly from the labels.
        guarded: whether a link that leads from inside the folder out of it is refused when it is read.
    """

    def __init__(
        self,
        root: Path,
        names: Sequence[str],
        labels: Sequence[Label] | None = None,
        groups: Sequence[str | None] | None = None,
        masks: Sequence[str | None] | None = None,
        notes: tuple[str, ...] = (),
        spread: bool = False,
        guarded: bool = False,
    ) -> None:
        self.labels, self.notes, self.spread = labels, notes, spread
        self._root, self._names, self._groups, self._masks = root, names, groups, masks
        self._guarded = guarded
        self._renamed = _renamed(names)

    def __len__(self) -> int:
        return len(self._names)

    def id(self, index: int) -> str:
        """Return the name without its suffix; with it, and a number, where two would be called the same."""
        return self._renamed.get(index) or _short(self._names[index])

    def source(self, index: int) -> str:
        """Return the path."""
        return storable(str(self._root / self._names[index]))

    def entry(self, index: int) -> Entry:
        """Return the path."""
        return Entry(self._checked(self._names[index]))

    def stamp(self, index: int) -> str:
        """Return size and time of writing."""
        return file_stamp(self._root / self._names[index])

    def group(self, index: int) -> str | None:
        """Return the group."""
        return self._groups[index] if self._groups else None

    def mask(self, index: int) -> Path | None:
        """Return the mask's file."""
        name = self._masks[index] if self._masks else None
        return self._checked(name) if name else None

    def _checked(self, name: str) -> Path:
        path = self._root / name
        inside = Path(os.path.normpath(path)).is_relative_to(os.path.normpath(self._root))
        if self._guarded and inside and not path.resolve().is_relative_to(self._root.resolve()):
            raise RefusedFileError(f"{path} leads out of its folder by a link; write the path that it leads to")
        return path


class Stack(Content):
    """An array whose first dimension counts the inputs.

    Args:
        images: (n, ...) as `stacks.check_stack` wants it: in a file, or in memory.
        name: of the entries: name/0, name/1, ...
        spec: the input that the model declares.
        labels: a label each.
    """

    def __init__(
        self,
        images: Stored | np.ndarray,
        name: str,
        spec: Input,
        labels: Sequence[Label] | np.ndarray | None = None,
    ) -> None:
        self._images, self._name, self._spec, self.labels = images, name, spec, labels

    def __len__(self) -> int:
        return len(self._array)

    def id(self, index: int) -> str:
        """Return the array's name and the index."""
        return f"{self._name}/{index}"

    def source(self, index: int) -> str:
        """Return the file and the index."""
        place = storable(str(self._images.path)) if isinstance(self._images, Stored) else "<ndarray>"
        return f"{place}[{index}]"

    def entry(self, index: int) -> Entry:
        """Return the numbers as the model has their dimensions."""
        raw = self._array[index]
        image, notes = oriented(np.asarray(raw), self._spec)
        return Entry(image, digest=_digest(raw), treatments=notes)

    def stamp(self, index: int) -> str:
        """Return size and time of writing of the file; of an array in memory the entry's digest."""
        return file_stamp(self._images.path) if isinstance(self._images, Stored) else _digest(self._array[index])

    def many(self, indices: Sequence[int], spec: Input) -> tuple[Prepared, list[str]] | None:
        """Return entries prepared together where that gives what `prepare` gives."""
        raw = np.asarray(self._array[np.asarray(indices)])
        prepared = prepare_stack(raw, spec)
        return (prepared, [_digest(one) for one in raw]) if prepared else None

    @property
    def _array(self) -> np.ndarray:
        return self._images.array if isinstance(self._images, Stored) else self._images


class Objects(Content):
    """Anything live with a length and items: pictures, or pairs of a picture and a label.

    Args:
        items: a list, or a torch Dataset.
        name: of the entries: name/0, name/1, ...
    """

    def __init__(self, items: Any, name: str) -> None:
        self._items, self._name = items, name

    def __len__(self) -> int:
        return len(self._items)

    def id(self, index: int) -> str:
        """Return the name and the index."""
        return f"{self._name}/{index}"

    def source(self, index: int) -> str:
        """Return a file's path, else what the items are and the index."""
        item = self._items[index] if isinstance(self._items, list) else None
        return storable(str(item)) if isinstance(item, str | Path) else f"<{type(self._items).__name__}>[{index}]"

    def entry(self, index: int) -> Entry:
        """Return a picture, and its label where it has one."""
        try:
            item = self._items[index]
        except Exception as error:  # the user's own code
            reason = " ".join(str(error).split())[:200]
            raise RefusedFileError(f"item {index} cannot be had: {type(error).__name__} {reason}") from error
        if isinstance(item, tuple | list) and len(item) == 2:
            return Entry(item[0], label=plain(item[1]))
        return Entry(item)

    def stamp(self, index: int) -> str:
        """Return a file's; what other items hold is known once they are read."""
        item = self._items[index] if isinstance(self._items, list) else None
        return file_stamp(Path(item)) if isinstance(item, str | Path) else ""


def file_stamp(path: Path) -> str:
    """Return a file's size and time of writing, "" if there is none."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return ""
    return f"{found.st_size} {found.st_mtime_ns}"


def _digest(numbers: np.ndarray) -> str:
    content = np.ascontiguousarray(numbers)
    return hashlib.sha256(f"{content.dtype.str} {content.shape} ".encode() + content.tobytes()).hexdigest()


def _short(name: str) -> str:
    """Return a path's name in a run: without suffix, and without the way out of its folder."""
    short = os.path.splitext(name)[0]  # noqa: PTH122  # there may be a million
    if "./" in short or "//" in short or short.startswith(("/", ".")):
        short = os.path.normpath(short).lstrip("./")
    return short.encode("utf-8", "backslashreplace").decode() or "file"


def _renamed(names: Sequence[str]) -> dict[int, str]:
    """Return a name for every entry whose short one is another's too, by index."""
    if len(set(map(_short, names))) == len(names):
        return {}
    counts = Counter(map(_short, names))
    taken = {name for name, count in counts.items() if count == 1}
    renamed: dict[int, str] = {}
    for index, name in enumerate(names):
        if counts[_short(name)] > 1:
            renamed[index] = free_name(_short(f"{name}."), taken)
            taken.add(renamed[index])
    return renamed
