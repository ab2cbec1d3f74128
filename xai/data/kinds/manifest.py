"""A CSV or JSON file that names the inputs."""

from __future__ import annotations

import csv
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import lru_cache
from itertools import chain, zip_longest
from pathlib import Path
from typing import IO, Any

from xai.data.contents import Content, Files
from xai.data.kinds.base import Kind, no_labels
from xai.data.labels import Label
from xai.data.samples import SUFFIXES
from xai.errors import RefusedFileError, UsageError
from xai.models.card import Input
from xai.models.safety import Peek
from xai.text import storable

MAX_BYTES = 256 * 2**20
COLUMNS = ("path", "label", "group", "mask")
LISTED = 5  # columns that are not read, in a note
_LIKE_LABEL = re.compile(
    "class(es|name|id|index|label)?|category|targets?|y|gt|(ground)?truth|(true|class)?label(s|name|id|index)?"
)
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
Row = Mapping[str, Any]


class Manifest(Kind):
    """A table of inputs: columns path, label, group, mask; all but path may be missing, others are left out and named.

    A column that seems to hold the labels under another name ("class", "labels") is refused where there is no label.
    CSV with a first line of names, separated by commas, semicolons or tabs; a JSON list of objects; or one a line.
    Paths and masks are relative to the table. A path that begins inside its folder and leaves it by a link is refused.
    """

    name = "manifest"
    summary = "a CSV or JSON file with columns path, label, group, mask"

    def recognises(self, source: object) -> bool:
        """Say whether the file is text, and is not named as a picture is."""
        if not isinstance(source, Peek) or source.path.name.lower().endswith(SUFFIXES):
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
    others: dict[str, None] = {}
    for number, row in rows:
        unread = [column for column in row if column not in COLUMNS]
        if "label" not in row:
            _check_columns(unread)
        others |= dict.fromkeys(unread)
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
        notes=_left_out(list(others)),
        guarded=True,
    )


def _check_columns(unread: Iterable[str]) -> None:
    """Refuse a column that seems to hold the labels: they would be lost."""
    for column in unread:
        if _seems_label(column):
            raise RefusedFileError(
                f"expected labels in a column 'label', received a column {storable(column)[:60]!r}; rename it to "
                "'label', or take it out if it holds no labels"
            )


@lru_cache(maxsize=256)  # asked for every row
def _seems_label(column: str) -> bool:
    bare = "".join(sign for sign in column if sign.isalnum())
    return bool(_LIKE_LABEL.fullmatch(bare) or get_close_matches(bare, ["label"], cutoff=0.8))


def _left_out(columns: Sequence[str]) -> tuple[str, ...]:
    """Name the columns that are not read."""
    if not columns:
        return ()
    shown = ", ".join(repr(storable(column)[:60]) if column else "one without a name" for column in columns[:LISTED])
    more = f" and {len(columns) - LISTED} more" if len(columns) > LISTED else ""
    return (f"columns that are not read: {shown}{more}; those that are: {', '.join(COLUMNS)}",)


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
    fields = [_column(name) for name in row] if isinstance(row, dict) else []
    if not isinstance(row, dict) or "path" not in fields:
        raise RefusedFileError(f'expected objects such as {{"path": ..., "label": ...}}, received {str(row)[:60]!r}')
    _check_once(fields)
    return dict(zip(fields, row.values(), strict=True))


def _column(name: str) -> str:
    """Return a column's name as it is compared."""
    return name.strip().lower()


def _check_once(header: Sequence[str]) -> None:
    twice = [name for name in COLUMNS if header.count(name) > 1]
    if twice:
        raise RefusedFileError(f"column {twice[0]!r} stands there twice")


def _table(first: str, file: IO[str]) -> Iterator[tuple[int, Row]]:
    """Yield the rows of a CSV file, numbered as a spreadsheet does: the names are row 1."""
    for separator in ",;\t":
        header = [_column(name) for name in next(csv.reader([first], delimiter=separator), [])]
        if "path" in header:
            break
    else:
        raise RefusedFileError(f"expected a column 'path' in its first line, received {storable(first.strip())[:60]!r}")
    _check_once(header)
    for number, row in enumerate(csv.reader(file, delimiter=separator), start=2):
        if len(row) > len(header):
            raise RefusedFileError(
                f"row {number} has {len(row)} fields and the first line {len(header)}; put quotes around a path that "
                f"holds {separator!r}"
            )
        if any(field.strip() for field in row):
            yield number, dict(zip_longest(header, row, fillvalue=""))


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
