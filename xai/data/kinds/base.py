"""What a kind of data set is, and how the right one is found."""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

from xai.data.contents import Content
from xai.data.stored import idx_dimensions
from xai.errors import RefusedFileError, UsageError
from xai.models.card import Input
from xai.models.safety import Peek, peek
from xai.registry import Family

_IDX_IMAGES = re.compile(r"images?[.-]idx\d-ubyte(\.gz)?$")


class Kind(ABC):
    """A kind of data set."""

    name: ClassVar[str]
    summary: ClassVar[str]

    @abstractmethod
    def recognises(self, source: object) -> bool:
        """Say whether the data are of this kind.

        Args:
            source: a Peek of a file, a folder's Path, "sample:NAME", or a live object.
        """

    @abstractmethod
    def open(self, source: Any, spec: Input, labels: Path | None) -> Content:
        """Return the entries; nothing of them is read yet.

        Args:
            source: what this kind recognised.
            spec: the input that the model declares.
            labels: a file of labels that the user named.

        Raises:
            UsageError: what was asked for does not fit.
            RefusedFileError: a file is damaged, unsafe, or not what it seems.
        """


kinds: Family[Kind] = Family("kind of data", "xai.data.kinds", Kind, key=lambda leaf: leaf.name)  # type: ignore[type-abstract]  # a family is of subclasses of its abstract base


def open_content(data: Any, spec: Input, labels: Path | None) -> tuple[Content, str]:
    """Find the kind of some data by what they hold; return their entries and the kind's name.

    Raises:
        UsageError: the data do not exist, or are of no kind.
        RefusedFileError: a file is damaged, unsafe, or not what it seems.
    """
    source = _door(data)
    for kind_class in kinds.all().values():
        kind = kind_class()
        if kind.recognises(source):
            return kind.open(source, spec, labels), kind.name
    known = "; ".join(kind.summary for kind in kinds.all().values())
    if isinstance(source, Peek):
        raise RefusedFileError(f"data {source.path} are of no kind that is read here; expected {known}")
    raise UsageError(f"expected data as one of: {known}; received {type(data).__name__}")


def no_labels(name: str, labels: Path | None) -> None:
    """Raise UsageError if a file of labels was named for data that have no use for one."""
    if labels is not None:
        raise UsageError(f"labels {labels} were named, and {name} takes none; write path and label into a CSV file")


def _door(data: Any) -> object:
    if not isinstance(data, str | Path) or (isinstance(data, str) and data.startswith("sample:")):
        return data
    path = Path(data)
    if path.is_dir():
        return _idx_in(path) or path
    if not path.exists():
        raise UsageError(f"data {path} do not exist")
    if not path.is_file():
        raise UsageError(f"data {path} are neither a file nor a folder")
    return peek(path, "data")


def _idx_in(folder: Path) -> Peek | None:
    """Return the idx file of pictures in a folder: a folder of idx files stands for it."""
    found = sorted(entry.path for entry in os.scandir(folder) if _IDX_IMAGES.search(entry.name))
    files = [file for file in (peek(Path(path), "data") for path in found) if idx_dimensions(file.head)]
    if len(files) > 1:
        names = " and ".join(file.path.name for file in files[:3])
        raise UsageError(f"folder {folder} holds {len(files)} idx files of pictures, {names}; name one of them")
    return files[0] if files else None
