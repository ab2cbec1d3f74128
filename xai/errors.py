"""The errors that a user meets: one root, and a child for each exit code of the command line.

A message is one line that says what was expected, what came, and what to do about it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import ClassVar


class XaiError(Exception):
    """Something went wrong that a user can understand and act upon (exit code 3)."""

    exit_code: ClassVar[int] = 3


class AnalysisError(XaiError):
    """A method could not answer for this model and input; the finding says why (exit code 3)."""


class NotApplicableError(AnalysisError):
    """A method does not apply to this model; the finding is skipped with that reason (exit code 3)."""


class UsageError(XaiError):
    """What was asked for does not exist or does not fit: a name, a path, a value (exit code 2)."""

    exit_code = 2


class RefusedFileError(XaiError):
    """A file that exists was refused: unsafe, unreadable or not what it says (exit code 4)."""

    exit_code = 4


class StoppedError(XaiError):
    """A run was interrupted, and what it had done is kept (exit code 130)."""

    exit_code = 130


class TamperedError(XaiError):
    """A run's files are not the ones that its manifest lists (exit code 1)."""

    exit_code = 1


def lacks_memory(error: BaseException) -> bool:
    """Say whether an error is for want of memory, in Python's words or in torch's."""
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "alloc" in str(error).lower())


def unknown(noun: str, name: str, known: Iterable[str]) -> UsageError:
    """Return the error for a name that does not exist, with the nearest names that do."""
    names = list(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if near:
        return UsageError(f"there is no {noun} {name!r}; did you mean {' or '.join(map(repr, near))}?")
    shown = ", ".join(map(repr, names[:12])) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
    return UsageError(f"there is no {noun} {name!r}; there are: {shown or 'none'}")
