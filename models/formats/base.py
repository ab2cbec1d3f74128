"""What a format of model files is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import torch
from torch import nn

from xai.models.safety import Peek
from xai.registry import Family

StateDict = Mapping[str, torch.Tensor]


class Format(ABC):
    """A format of model files.

    `read` returns either the network or its tensors by name; the latter need an architecture.
    """

    name: ClassVar[str]
    summary: ClassVar[str]

    @abstractmethod
    def recognises(self, file: Peek) -> bool:
        """Say from its bytes whether the file is of this format."""

    @abstractmethod
    def read(self, path: Path) -> nn.Module | StateDict:
        """Return the network, or its tensors by name.

        Args:
            path: a file that this format recognised.

        Raises:
            RefusedFileError: the file is damaged, unsafe, or not what it seems.
        """


formats: Family[Format] = Family("format", "xai.models.formats", Format, key=lambda leaf: leaf.name)  # type: ignore[type-abstract]  # a family is of subclasses of its abstract base
