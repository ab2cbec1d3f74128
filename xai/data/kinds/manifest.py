"""A CSV or JSON file that names the inputs."""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import IO, Any

from xai.data.contents import Content, Files
from xai.data.kinds.base import Kind, no_labels
from xai.data.labels import Label
from xai.errors import RefusedFileError, UsageError
from xai.models.card import Input
from xai.models.safety import Peek
from xai.text import storable

MAX_BYTES = 256 * 2**20
COLUMNS = ("path", "label", "group", "mask")
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
Row = Mapping[str, Any]


class Manifest(Kind):
    """A table of inputs: columns path, label, group, mask; all but path may be missing, others are left out.

    CSV with a first line of names, separated by commas, semicolons or tabs; a JSON list of objects; or one a line.
    Paths and masks are relative to the table. A path that begins inside its folder and leaves it by a link is refused.
    """

    name = "manifest"
    summary = "a CSV or JSON file with columns path, label, group, mask"

    def recognises(self, source: object) -> bool:
        """Say whether the file is text."""
        if not isinstance(source, Peek):
            return False
        return source.head.startswith(_UTF16) or not any(byte < 9 or 13 < byte < 32 for byte in source.head)

    def open(self, source: Peek, spec: Input, labels: Path | None) -> Content:  # noqa: ARG002  # told when read
        """Return the files that are named; whether they exist is seen when they are read."""
        no_labels("a manifest", labels)
        if source.size > MAX_BYTES:
            raise RefusedFileError(f"manifest {source.path} has {source.size} bytes; expected at most {MAX_BYTES}")
        try:
            with source.path.open(
                encoding="utf-16" if source.head.startswith(_UTF16) else "utf-8-sig", newline=""
            ) as file:
                return _files(source.path, _rows(file))
        except RefusedFileError as error:
            raise RefusedFileError(f"manifest {source.path}: {error}") from error
        except UnicodeError as error:
            raise RefusedFileError(f"manifest {source.path} is not UTF-8 text; save it as UTF-8") from error
        except (csv.Error, ValueError, RecursionError, OSError) as error:
            reason = " ".join(str(error).split())[:200]
            raise RefusedFileError(f"manifest {source.path} cannot be read: {reason}") from error


def _files(path: Path, rows: Iterable[tuple[int, Row]]) -> Files:
    names: list[str] = []
    labels: list[Label] = []
    groups: list[str | None] = []
    masks: list[str | None] = []
    seen: dict[str, int] = {}
    for number, row in rows:
        name = _text(row, "path", number)
        if not name:
            raise RefusedFileError(f"row {number} has no path")
        first = seen.setdefault(os.path.normpath(name), number)
        if first != number:
            raise RefusedFileError(f"rows {first} and {number} name the same file, {storable(name)!r}; remove one")
        names.append(name)
        labels.append(_label(row, number))
        groups.append(_text(row, "group", number))
        masks.append(_text(row, "mask", number))
    if not names:
        raise UsageError(f"manifest {path} has no rows")
    return Files(
        path.parent,
        names,
        labels=labels if any(label is not None for label in labels) else None,
        groups=groups if any(groups) else None,
        masks=masks if any(masks) else None,
        guarded=True,
    )


def _rows(file: IO[str]) -> Iterator[tuple[int, Row]]:
    """Yield each row with its number; the form is told from the first sign."""
    first = next((line for line in file if line.strip()), "")
    if first.lstrip().startswith("["):
        rows = json.loads(first + file.read())
        yield from enumerate(map(_object, rows), start=1)
    elif first.lstrip().startswith("{"):
        for number, line in enumerate(chain([first], file), start=1):
            if line.strip():
                yield number, _object(json.loads(line))
    else:
        yield from _table(first, file)


def _object(row: object) -> Row:
    if not isinstance(row, dict) or "path" not in row:
        raise RefusedFileError(f'expected objects such as {{"path": ..., "label": ...}}, received {str(row)[:60]!r}')
    return row


def _table(first: str, file: IO[str]) -> Iterator[tuple[int, Row]]:
    """Yield the rows of a CSV file, numbered as a spreadsheet does: the names are row 1."""
    for separator in ",;\t":
        header = [name.strip().lower() for name in next(csv.reader([first], delimiter=separator), [])]
        if "path" in header:
            break
    else:
        raise RefusedFileError(f"expected a column 'path' in its first line, received {storable(first.strip())[:60]!r}")
    twice = [name for name in COLUMNS if header.count(name) > 1]
    if twice:
        raise RefusedFileError(f"column {twice[0]!r} stands there twice")
    for number, row in enumerate(csv.reader(file, delimiter=separator), start=2):
        if len(row) > len(header):
            raise RefusedFileError(
                f"row {number} has {len(row)} fields and the first line {len(header)}; put quotes around a path that "
                f"holds {separator!r}"
            )
        if any(field.strip() for field in row):
            yield number, dict(zip(header, row, strict=False))


def _text(row: Row, column: str, number: int) -> str | None:
    """Return a field, None where it is empty; equal texts are kept once."""
    value = row.get(column)
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool) and column == "group":
        value = str(value)
    if not isinstance(value, str):
        raise RefusedFileError(f"row {number}: expected a text as {column}, received {str(value)[:60]!r}")
    text = value.strip()
    return sys.intern(text) if text else None


def _label(row: Row, number: int) -> Label:
    value = row.get("label")
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return _text(row, "label", number)
