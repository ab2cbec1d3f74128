"""Lists of verification problems: the instances.csv of a benchmark."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from xai.errors import RefusedFileError, UsageError

MAX_BYTES = 2**24
VERDICTS = ("sat", "unsat", "unknown")
_FIRST = ("onnx", "vnnlib", "timeout")


@dataclass(frozen=True)
class Instance:
    """A network, a property of it, and how long it may take.

    Args:
        row: line in the list, from 1 on.
        onnx: the network's file.
        vnnlib: the property's file.
        timeout: seconds, or None where the list has none.
        expected: sat, unsat or unknown; "" where the list does not say.
    """

    row: int
    onnx: Path
    vnnlib: Path
    timeout: float | None = None
    expected: str = ""


def read_instances(path: Path) -> list[Instance]:
    """Return the problems of a list: columns onnx, vnnlib and timeout, files relative to the list.

    A first line of names is known by its first two being onnx and vnnlib; it may name the columns in any order, a
    timeout such as competition_timeout_s, and a column expected. Other columns are left alone.

    Raises:
        UsageError: there is no such file, or none that a row names.
        RefusedFileError: it is no such list; the row is named.
    """
    rows = _rows(path)
    if not rows:
        raise RefusedFileError(f"instances {path}: expected a row for each problem, received an empty list")
    names = [cell.strip().lower() for cell in rows[0][1]]
    headed = "onnx" in names and "vnnlib" in names
    columns = _columns(names) if headed else dict(zip(_FIRST, range(3), strict=True))
    found = [_instance(path, row, cells, columns) for row, cells in rows[headed:]]
    if not found:
        raise RefusedFileError(f"instances {path}: expected a row for each problem, received names of columns only")
    return found


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    """Return the rows that are not empty, with their lines."""
    if not path.is_file():
        raise UsageError(f"instances {path} does not exist")
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise RefusedFileError(f"instances {path}: expected at most {MAX_BYTES} bytes, received more")
        reader = csv.reader(content.decode("utf-8-sig").splitlines(), strict=True)
        return [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RefusedFileError(f"instances {path}: expected a list in CSV (UTF-8), received {error}") from error


def _columns(names: Sequence[str]) -> dict[str, int]:
    columns = {name: names.index(name) for name in ("onnx", "vnnlib", "expected") if name in names}
    timeout = next((index for index, name in enumerate(names) if "timeout" in name), None)
    return columns if timeout is None else {**columns, "timeout": timeout}


def _instance(path: Path, row: int, cells: Sequence[str], columns: dict[str, int]) -> Instance:
    values = {name: cells[index].strip() for name, index in columns.items() if index < len(cells)}
    if not values.get("onnx") or not values.get("vnnlib"):
        raise RefusedFileError(
            f"instances {path}, row {row}: expected onnx, vnnlib and timeout, received {', '.join(cells)[:80]!r}"
        )
    expected = values.get("expected", "")
    if expected and expected not in VERDICTS:
        raise RefusedFileError(
            f"instances {path}, row {row}: expected {', '.join(VERDICTS)} or nothing as the expected verdict, received "
            f"{expected[:40]!r}"
        )
    onnx, vnnlib = (_file(path, row, values[name]) for name in ("onnx", "vnnlib"))
    return Instance(row, onnx, vnnlib, _timeout(path, row, values.get("timeout", "")), expected)


def _file(path: Path, row: int, name: str) -> Path:
    """Return a file that a row names, or the same name with .gz, as benchmarks come."""
    given = path.parent / name
    for found in (given, given.with_name(f"{given.name}.gz")):
        if found.is_file():
            return found
    raise UsageError(f"instances {path}, row {row}: {given} does not exist")


def _timeout(path: Path, row: int, text: str) -> float | None:
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise RefusedFileError(
            f"instances {path}, row {row}: expected a timeout in seconds above 0, received {text[:40]!r}"
        )
    return seconds
