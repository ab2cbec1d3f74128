"""What a hostile file is: how it is written, how a user would open it, and what they must be told."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

TOUCH = "touch marker"
CALL = f"__import__('os').system({TOUCH!r})"
WRITE = "open('marker','w')"  # without a dot, which cuts names
MARKER = "marker"

Maker = Callable[[Path], object]


@dataclass(frozen=True)
class Case:
    """One hostile file.

    Args:
        form: format of the file.
        attack: what it tries, in words.
        make: writes it, and what belongs to it, at a path in an empty folder.
        words: that are part of the one line that is said; "" where the file opens, unharmed.
        file: name of the file within the folder.
        is_input: whether it is what a model looks at, no model.
    """

    form: str
    attack: str
    make: Maker
    words: str
    file: str = "model.pt"
    is_input: bool = False

    def __str__(self) -> str:
        return f"{self.form}: {self.attack}"

    @property
    def code(self) -> int:
        """Exit code of the command that is given the file."""
        return 4 if self.words else 0

    def write(self, folder: Path) -> None:
        """Write the file into a folder."""
        path = folder / self.file
        path.parent.mkdir(exist_ok=True)
        self.make(path)


def cases(
    form: str, table: dict[str, tuple[Maker, str]], file: str = "model.pt", *, is_input: bool = False
) -> tuple[Case, ...]:
    """Return the cases of a table: (writer, words) by attack."""
    return tuple(Case(form, attack, make, words, file, is_input) for attack, (make, words) in table.items())


class Evil:
    """Leaves a marker when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return (os.system, (TOUCH,))


def evil() -> bytes:
    """Return such an object as torch.save writes it."""
    buffer = io.BytesIO()
    torch.save(Evil(), buffer)
    return buffer.getvalue()


def saved(content: object, **options: Any) -> Maker:
    return lambda path: torch.save(content, path, **options)


def written(content: Callable[[], bytes]) -> Maker:
    return lambda path: path.write_bytes(content())


def zipped(entries: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return buffer.getvalue()
