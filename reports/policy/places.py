"""YAML as plain data that remembers where each part stands, so that a fault is told with its line and column.

Every scalar is kept as the text that was written (`1/255`, `0.95`, `no`): each field reads its own. Nothing is
constructed from tags, and there are no aliases, by which a short text can stand for one that fills the memory.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from xai.errors import RefusedFileError, UsageError

MAX_BYTES, MAX_DEPTH, MAX_PARTS = 2**18, 16, 20_000
TOLD = 12  # faults at most
_PLAIN = {f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "timestamp", "map", "seq")}
_NOTHING = "tag:yaml.org,2002:null"

Where = tuple[str | int, ...]


class Fault(NamedTuple):
    """What is wrong, and where: line and column from 1 on; 0 where that is not known."""

    line: int
    column: int
    words: str


@dataclass(frozen=True)
class Written:
    """A file's data, and where its parts stand.

    Args:
        data: mappings, lists, texts and None.
        places: line and column of each part, by the names and numbers that lead to it; of a field where its name is.
        text: the whole file.
        content: its bytes.
    """

    data: Any
    places: dict[Where, tuple[int, int]]
    text: str
    content: bytes

    def place(self, where: Where) -> tuple[int, int]:
        """Return line and column of a part, or of the nearest that holds it."""
        while where not in self.places and where:
            where = where[:-1]
        return self.places.get(where, (1, 1))


def read(path: Path, noun: str) -> Written:
    """Return a file's data with its places.

    Args:
        path: of the file.
        noun: what it is to be, for messages.

    Raises:
        UsageError: there is no such file.
        RefusedFileError: it is too large, no UTF-8 or no plain YAML.
    """
    if not path.is_file():
        raise UsageError(f"{noun} {path} does not exist")
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise RefusedFileError(f"{noun} {path} cannot be read: {error.strerror}") from error
    return read_bytes(content, f"{noun} {path}")


def read_bytes(content: bytes, name: str) -> Written:
    """Return the data of a file's bytes with its places; raises RefusedFileError as `read` does."""
    if len(content) > MAX_BYTES:
        raise RefusedFileError(f"{name} is larger than {MAX_BYTES} bytes: expected a short YAML file")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RefusedFileError(f"{name} is not UTF-8 text: byte {error.start} is not part of any letter") from None
    try:
        faults = list(_unwanted(text))
        node = None if faults else yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        faults = [Fault(mark.line + 1, mark.column + 1, f"this is no YAML: {error.problem}") if mark else _lost(error)]
    except (yaml.YAMLError, ValueError) as error:
        faults = [_lost(error)]
    if faults:
        raise refused(name, faults)
    places: dict[Where, tuple[int, int]] = {}
    data = _built(node, (), places, faults) if node is not None else None
    if faults:
        raise refused(name, faults)
    return Written(data, places, text, content)


def refused(name: str, faults: Iterable[Fault]) -> RefusedFileError:
    """Return the error that lists a file's faults, in the file's order."""
    told = sorted(set(faults))
    lines = [f"line {one.line}, column {one.column}: {one.words}" if one.line else one.words for one in told[:TOLD]]
    more = f"; and {len(told) - TOLD} more" if len(told) > TOLD else ""
    count = "" if len(told) == 1 else f" has {len(told)} faults"
    return RefusedFileError(f"{name}{count}: {'; '.join(lines)}{more}")


def _lost(error: Exception) -> Fault:
    return Fault(0, 0, f"this is no YAML: {' '.join(str(error).split())[:200]}")


def _unwanted(text: str) -> Iterable[Fault]:
    """Yield what is YAML and yet not taken: aliases, tags, depths and sizes."""
    depth = 0
    for parts, event in enumerate(yaml.parse(text, Loader=yaml.SafeLoader)):
        mark = event.start_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            yield Fault(line, column, "aliases (&name, *name) are not taken here: write the values out")
        tag = getattr(event, "tag", None)
        if tag and tag not in _PLAIN:
            yield Fault(line, column, f"the tag {tag!r} is not taken here: expected plain texts, numbers and lists")
        if depth > MAX_DEPTH or parts > MAX_PARTS:
            yield Fault(line, column, f"expected at most {MAX_DEPTH} levels and {MAX_PARTS} parts")
            return


def _built(node: yaml.Node, where: Where, places: dict[Where, tuple[int, int]], faults: list[Fault]) -> Any:
    """Return a node's plain data, and note where it stands."""
    places.setdefault(where, _at(node))
    if isinstance(node, yaml.SequenceNode):
        return [_built(child, (*where, index), places, faults) for index, child in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, where, places, faults)
    return None if node.tag == _NOTHING else node.value


def _mapping(
    node: yaml.MappingNode, where: Where, places: dict[Where, tuple[int, int]], faults: list[Fault]
) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, value in node.value:
        line, column = _at(key)
        if not isinstance(key, yaml.ScalarNode):
            faults.append(Fault(line, column, "expected a name, received a list or mapping"))
        elif key.value in made:
            faults.append(Fault(line, column, f"{key.value[:60]!r} stands here twice: keep the one that is meant"))
        else:
            places[*where, key.value] = line, column
            made[key.value] = _built(value, (*where, key.value), places, faults)
    return made


def _at(node: yaml.Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1
