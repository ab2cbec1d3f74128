"""Code of the user's own: it may import its neighbours, and what it raises becomes one line."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from xai.errors import RefusedFileError, XaiError


@contextmanager
def importable(*folders: Path) -> Iterator[None]:
    """Let code import what lies in some folders, the first before the others and before everything else."""
    entries = [str(folder.resolve()) for folder in folders]
    sys.path[:0] = entries
    importlib.invalidate_caches()  # a file written a moment ago would not be seen, and another of its name be taken
    try:
        yield
    finally:
        for entry in entries:
            sys.path.remove(entry)


@contextmanager
def forgetting(*folders: Path) -> Iterator[None]:
    """Forget afterwards which modules were imported from some folders: another's `models` may follow."""
    before = set(sys.modules)
    try:
        yield
    finally:
        roots = [folder.resolve() for folder in folders]
        for name in set(sys.modules) - before:
            file = getattr(sys.modules[name], "__file__", None)
            if file and any(Path(file).is_relative_to(root) for root in roots):
                del sys.modules[name]


def called(function: Callable[[], Any], what: str) -> Any:
    """Call foreign code; its exceptions become one line."""
    try:
        with contextlib.redirect_stdout(sys.stderr):  # stdout is for data
            return function()
    except XaiError:
        raise
    except (Exception, SystemExit) as error:
        raise RefusedFileError(
            f"{what} failed: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
        ) from error
