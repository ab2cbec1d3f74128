"""What C libraries print past Python, caught: a user is told it in the record, not in the middle of the terminal."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

_LINE = re.compile(r"[A-Za-z0-9_]+: [ -~]+")  # libtiff names the function that complains


@contextmanager
def caught_stderr() -> Iterator[list[str]]:
    """Yield a list that holds, once the body is done, the complaints that it wrote to the process's stderr."""
    lines: list[str] = []
    try:
        kept = os.dup(2)
    except OSError:  # there is no stderr
        yield lines
        return
    try:
        with tempfile.TemporaryFile() as file:
            os.dup2(file.fileno(), 2)
            try:
                yield lines
            finally:
                os.dup2(kept, 2)
                file.seek(0)
                text = file.read(2**16).decode("ascii", "replace")
                lines += [line for line in text.splitlines() if _LINE.fullmatch(line)]
    finally:
        os.close(kept)
