"""Plain pickles: what pickle.dump writes. Opened only for those who trust them."""

from __future__ import annotations

import pickle
import pickletools
from pathlib import Path
from typing import Any

from xai.errors import RefusedFileError
from xai.models.formats.base import Contents, Format
from xai.models.pickled import LEGACY, REMEDY, unpickled
from xai.models.safety import Peek

_OPCODES = 1000  # looked at for the name of the class


class Pickle(Format):
    """A pickle of anything, such as pickle.dump(net, file) or pickle.dump(classifier, file) gives."""

    name = "pickle"
    summary = "what pickle.dump(net, ...) writes (.pkl); only with --trust-model"
    suffixes = (".pkl", ".pickle")

    def recognises(self, file: Peek) -> bool:
        """Tell from the sign of protocol 2 and later."""
        return file.head[:1] == b"\x80" and file.head[1:2] in b"\2\3\4\5" and not file.head.startswith(LEGACY)

    def read(self, path: Path, *, trusted: bool = False) -> Contents:
        """Return what a trusted file holds."""
        if trusted:
            return unpickled(path, lambda: _loaded(path))
        raise RefusedFileError(
            f"model {path} is a pickle of Python objects ({_first_class(path)[:80]}), and opening it could run code; "
            f"{REMEDY}"
        )


def _loaded(path: Path) -> Any:
    with path.open("rb") as file:
        return pickle.load(file)


def _first_class(path: Path) -> str:
    """Return the first class or function that a pickle names; nothing of it runs."""
    texts: list[str] = []
    try:
        with path.open("rb") as file:
            for (opcode, argument, _), _ in zip(pickletools.genops(file), range(_OPCODES), strict=False):
                if opcode.name == "GLOBAL":
                    return str(argument).replace(" ", ".")
                if opcode.name == "STACK_GLOBAL":
                    return ".".join(texts[-2:])
                if isinstance(argument, str):
                    texts.append(argument)
    except Exception:  # pickletools raises whatever its readers meet
        return "damaged"
    return "of no class"
