"""The drawing of a network: its blocks from top to bottom, and how data flow, ways around blocks included."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from xai.reports.records import BlockRecord
from xai.reports.words import short

WIDTH, BOX, GAP = 320, 38, 18  # of the drawing, a block's height, between two blocks; in the drawing's own units
COLUMN = 22  # blocks in one piece at most
LANE, LANES = 10, 90  # from one way around to the next; what all of them may take
INSET, TITLE, DETAIL = 8, 12.5, 11.0  # of words within a block; sizes of letters
_NARROW, _WIDE = "iljtfrI.,:;|!'()[] -", "mwMW@%"


@dataclass(frozen=True)
class Box:
    """A block as it is drawn.

    Args:
        top: upper edge.
        css: "end" for input and outputs, "operator" for what no module of the source is, else "module".
        title: its name, cut at the front where it is too long.
        detail: kind and parameters.
        shape: of its output.
        words: all of this in full.
    """

    top: float
    css: str
    title: str
    detail: str
    shape: str
    words: str


@dataclass(frozen=True)
class Piece:
    """A part of the drawing: pieces stand side by side where there is room, else one below the other.

    Args:
        top: upper edge.
        height: of the piece.
        boxes: from top to bottom.
    """

    top: float
    height: float
    boxes: tuple[Box, ...]


@dataclass(frozen=True)
class Drawing:
    """Everything that the template places.

    Args:
        pieces: from top to bottom.
        down: paths from a block to the next.
        around: paths that pass by other blocks.
        width: of a box.
        words: the blocks and what each reads, in words.
    """

    pieces: tuple[Piece, ...]
    down: tuple[str, ...]
    around: tuple[str, ...]
    width: float
    words: str

    @property
    def count(self) -> int:
        """How many blocks there are."""
        return sum(len(piece.boxes) for piece in self.pieces)


def drawing(blocks: Sequence[BlockRecord]) -> Drawing | None:
    """Return the drawing of a network's blocks; None if there are none."""
    if not blocks:
        return None
    edges = [(source, reader) for reader, block in enumerate(blocks) for source in block.sources]
    lanes = assigned([edge for edge in edges if edge[1] - edge[0] > 1])
    step = min(LANE, LANES / max(1, 1 + max(lanes.values(), default=0)))
    width = WIDTH - 2 - (6 + step * (1 + max(lanes.values())) if lanes else 0)
    boxes = [_box(index, block, width) for index, block in enumerate(blocks)]
    many = -(-len(boxes) // -(-len(boxes) // COLUMN))  # pieces of about one length
    return Drawing(
        pieces=tuple(_piece(boxes[first : first + many]) for first in range(0, len(boxes), many)),
        down=tuple(_down(width / 2, reader) for source, reader in edges if reader - source == 1),
        around=tuple(_around(width, width + 6 + step * lane, *edge) for edge, lane in lanes.items()),
        width=width,
        words=" ".join(f"{_full(block)}{_reads(block, blocks)}." for block in blocks),
    )


def assigned(edges: Sequence[tuple[int, int]]) -> dict[tuple[int, int], int]:
    """Return for each edge (from, to) the lane it runs in: the innermost that is free along its whole length."""
    found: dict[tuple[int, int], int] = {}
    for start, end in sorted(edges, key=lambda edge: edge[1] - edge[0]):
        taken = {lane for (other, last), lane in found.items() if other < end and start < last}
        found[start, end] = next(lane for lane in range(len(edges)) if lane not in taken)
    return found


def fitted(text: str, room: float, size: float) -> str:
    """Return a text that takes at most that room, its front cut off if need be: the end of a name says most."""
    if _length(text, size) <= room:
        return text
    kept = text
    while kept and _length(f"…{kept}", size) > room:
        kept = kept[1:]
    return f"…{kept}"


def _length(text: str, size: float) -> float:
    """Return about how long a text is, rather too long than too short."""
    return size * sum(_letter(letter) for letter in text)


def _letter(letter: str) -> float:
    if unicodedata.east_asian_width(letter) in "WF":
        return 1.05
    if letter in _NARROW:
        return 0.4
    return 0.9 if letter in _WIDE else 0.7 if letter.isupper() else 0.6


def _top(index: int) -> float:
    return 1 + index * (BOX + GAP)


def _piece(boxes: Sequence[Box]) -> Piece:
    """Cut above and below some boxes: the lines run on in the next piece."""
    return Piece(boxes[0].top - GAP / 2, len(boxes) * (BOX + GAP), tuple(boxes))


def _box(index: int, block: BlockRecord, width: float) -> Box:
    room = width - 2 * INSET
    shape = " × ".join(map(str, block.shape))
    detail = " · ".join([*_kind(block), *[short(block.parameters)] * bool(block.parameters)])
    ends = block.kind in ("input", "outputs") and not block.name
    return Box(
        top=_top(index),
        css="end" if ends else "module" if block.module else "operator",
        title=fitted(block.name or block.kind, room, TITLE),
        detail=fitted(detail, room - _length(shape, DETAIL) - INSET, DETAIL),
        shape=fitted(shape, room, DETAIL),
        words=_full(block),
    )


def _full(block: BlockRecord) -> str:
    """Say everything that is known of a block."""
    facts = [*_kind(block), " x ".join(map(str, block.shape)) or "one number"]
    facts += [f"{short(block.parameters)} parameters"] * bool(block.parameters)
    facts += [f"{short(block.multiply_adds)} multiply-adds"] * bool(block.multiply_adds)
    return f"{block.name or block.kind} ({', '.join(facts)})"


def _kind(block: BlockRecord) -> list[str]:
    """Return a block's kind where its name does not say it already."""
    return [] if block.name in ("", block.kind) else [block.kind]


def _reads(block: BlockRecord, blocks: Sequence[BlockRecord]) -> str:
    names = [blocks[source].name or blocks[source].kind for source in block.sources]
    return f" reads {' and '.join(names)}" if names else ""


def _down(middle: float, reader: int) -> str:
    return f"M{middle:.1f} {_top(reader) - GAP:.1f}v{GAP - 1.5}m-4 -5l4 5l4 -5"


def _around(edge: float, lane: float, source: int, reader: int) -> str:
    """Go out of a block's lower half, along the lane, and into the other's upper half."""
    begin, end = _top(source) + 0.7 * BOX, _top(reader) + 0.3 * BOX
    bend = f"H{lane - 4:.1f}q4 0 4 4V{end - 4:.1f}q0 4 -4 4H{edge + 1.5:.1f}"
    return f"M{edge:.1f} {begin:.1f}{bend}m5 -4l-5 4l5 4"
