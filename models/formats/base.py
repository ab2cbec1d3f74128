"""What a format of model files is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from xai.errors import RefusedFileError
from xai.models.opaque import Opaque
from xai.models.safety import Peek, looks_like, peek
from xai.registry import Family

StateDict = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Reading:
    """A way to read the three axes of a file's input.

    Args:
        layout: "channels first" or "channels last".
        shape: channels, rows and columns; None where the size is free.
        guess: in words, what it is guessed from; "" if the file shows it.
    """

    layout: str
    shape: tuple[int | None, ...]
    guess: str = ""

    def fits(self, shape: Any) -> bool:
        """Say whether a declared shape is of these sizes."""
        if not isinstance(shape, list | tuple) or len(shape) != len(self.shape):
            return False
        return all(own in (None, size) for own, size in zip(self.shape, shape, strict=True))


@dataclass(frozen=True)
class Contents:
    """What a file holds.

    Args:
        network: the whole network, or None if the file holds weights only.
        tensors: the weights by name, if there is no network.
        hints: fields of a card that the file itself declares: {"input": {"shape": (3, 224, 224)}, "classes": ...}.
        assumed: what had to be assumed in reading it, in words.
        reference: another way to run the same file, which the network is compared with.
        readings: of the input's three axes, the likeliest first, where the file does not say which are the channels.
        whole: whether the file's bytes alone determine the network: no other file, no code.
    """

    network: nn.Module | None = None
    tensors: StateDict = field(default_factory=dict)
    hints: dict[str, Any] = field(default_factory=dict)
    assumed: tuple[str, ...] = ()
    reference: Opaque | None = None
    readings: tuple[Reading, ...] = ()
    whole: bool = True


class Format(ABC):
    """A format of model files."""

    name: ClassVar[str]
    summary: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]]  # by which a folder's one model is found; what a file is, its bytes say

    @abstractmethod
    def recognises(self, file: Peek) -> bool:
        """Say from its bytes whether the file is of this format."""

    @abstractmethod
    def read(self, path: Path, *, trusted: bool = False) -> Contents:
        """Return the network, or its tensors by name.

        Args:
            path: a file that this format recognised.
            trusted: whether the user allows code in the file to run.

        Raises:
            RefusedFileError: the file is damaged, unsafe, or not what it seems.
        """


formats: Family[Format] = Family("format", "xai.models.formats", Format, key=lambda leaf: leaf.name)  # type: ignore[type-abstract]  # a family is of subclasses of its abstract base


def read_file(path: Path, trusted: bool = False) -> tuple[Contents, str]:
    """Read a model file by what its bytes say; return what it holds and the format's name.

    Raises:
        RefusedFileError: it is of no format, damaged, unsafe, or not what it seems.
    """
    file = peek(path)
    for format_class in formats.all().values():
        reader = format_class()
        if reader.recognises(file):
            return reader.read(path, trusted=trusted), reader.name
    kinds = ", ".join(formats.all())
    raise RefusedFileError(f"model {path} is {looks_like(file)}; expected one of: {kinds}")
