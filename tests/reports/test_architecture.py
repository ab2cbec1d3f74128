"""The drawing of the network: every edge, nothing on top of another, hostile names as text."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.networks import Branching, Small, seeded
from tests.reports.test_page import HOSTILE, Checker
from xai.api import explain, inspect, load
from xai.reports.html.architecture import (
    BOX,
    COLUMN,
    DETAIL,
    GAP,
    INSET,
    TITLE,
    WIDTH,
    _length,
    assigned,
    drawing,
    fitted,
)
from xai.reports.html.page import render
from xai.reports.records import BlockRecord
from xai.reports.run import Run

edges = st.lists(
    st.tuples(st.integers(0, 30), st.integers(2, 12)).map(lambda pair: (pair[0], sum(pair))), unique=True, max_size=25
)


def block(name: str = "", kind: str = "Conv2d", sources: tuple[int, ...] = (), parameters: int = 0) -> BlockRecord:
    return BlockRecord(
        name=name, kind=kind, shape=(3, 8, 8), parameters=parameters, multiply_adds=0, sources=sources, module=True
    )


@given(edges)
def test_ways_around_never_share_a_lane(drawn: list[tuple[int, int]]) -> None:
    lanes = assigned(drawn)
    assert set(lanes) == set(drawn)
    for (start, end), lane in lanes.items():
        others = [edge for edge, other in lanes.items() if other == lane and edge != (start, end)]
        assert all(other_end <= start or end <= other_start for other_start, other_end in others)


def test_every_edge_is_one_path_and_all_stay_inside() -> None:
    blocks = [block("a"), block("b", sources=(0,)), block("c", sources=(0, 1)), block("d", sources=(0, 2))]
    made = drawing(blocks)
    assert made is not None
    assert len(made.down) == 3
    assert len(made.around) == 2
    lanes = [float(re.search(r"H([\d.]+)q4 0", path)[1]) + 4 for path in made.around]  # type: ignore[index]
    assert len(set(lanes)) == 2
    assert made.width < min(lanes) <= max(lanes) < WIDTH
    (piece,) = made.pieces
    assert piece.top < piece.boxes[0].top
    assert piece.top + piece.height > piece.boxes[-1].top + BOX
    assert [box.top for box in piece.boxes] == [1 + index * (BOX + GAP) for index in range(4)]


@pytest.mark.parametrize(("count", "pieces"), [(COLUMN, [22]), (COLUMN + 1, [12, 11]), (40, [20, 20]), (45, [15] * 3)])
def test_a_long_drawing_is_cut_between_blocks(count: int, pieces: list[int]) -> None:
    made = drawing([block(str(index), sources=(index - 1,) if index else ()) for index in range(count)])
    assert made is not None
    assert [len(piece.boxes) for piece in made.pieces] == pieces
    assert made.count == count
    for above, below in pairwise(made.pieces):
        assert above.top + above.height == below.top, "the lines run on"


@given(st.text(max_size=60), st.floats(30, 280))
def test_words_are_cut_to_their_room_from_the_front(text: str, room: float) -> None:
    shown = fitted(text, room, TITLE)
    assert shown == text or (shown.startswith("…") and text.endswith(shown[1:]))
    assert _length(shown, TITLE) <= room


def test_a_box_has_room_for_its_words() -> None:
    made = drawing([block("m" * 99, "K" * 99, parameters=7_000_000), block("", "add", sources=(0,))])
    assert made is not None
    boxes = made.pieces[0].boxes
    for box in boxes:
        assert _length(box.title, TITLE) <= made.width - 2 * INSET
        assert _length(box.detail, DETAIL) + _length(box.shape, DETAIL) <= made.width - 2 * INSET
    assert boxes[0].title.endswith("mmm")
    assert "m" * 99 in boxes[0].words, "in full for whoever points at it"


def test_hostile_names_are_text_and_the_drawing_is_well_formed() -> None:
    run = inspect(load(seeded(Small), shape=(3, 16, 16)))
    named = [one.model_copy(update={"name": HOSTILE, "kind": "]]>&<b>"}) for one in run.record.model.blocks]
    model = run.record.model.model_copy(update={"blocks": tuple(named)})
    html = render(Run(run.record.model_copy(update={"model": model}), run.store)).html
    assert "<script" not in html
    svg = re.search(r'<svg viewBox="0 -8 320.*?</svg>', html, re.DOTALL)
    assert svg is not None
    tree = ElementTree.fromstring(svg[0])
    assert len(tree.findall("g")) == len(named)
    assert tree.findtext("g/title", "").startswith(HOSTILE)
    assert not [attrs for _, attrs in Checker(html).tags if "style" in attrs]


def test_the_drawing_says_in_words_what_it_shows() -> None:
    run = inspect(load(seeded(Small), shape=(3, 16, 16)))
    html = render(run).html
    assert 'aria-labelledby="architecture-title architecture-words"' in html
    words = re.search('<desc id="architecture-words">(.*?)</desc>', html)
    assert words is not None
    assert re.search(r"add\w* \(add, 8 x 16 x 16\) reads act and act@1\.", words[1])
    assert "stem (Conv2d, 8 x 16 x 16, 224 parameters, 55.3\u00a0k multiply-adds) reads input." in words[1]


def test_every_report_has_it_folded_and_an_inspection_open(small: object, noise: torch.Tensor) -> None:
    model = load(seeded(Small), shape=(3, 16, 16))
    folded = render(explain(model, noise, methods="gradcam", measures="none")).html
    opened = render(inspect(model)).html
    assert "<details><summary>The network at a glance" in folded
    assert "<details open><summary>The network at a glance" in opened
    assert "A look inside" in opened
    assert "look at?" not in opened


def test_of_a_black_box_the_reason_stands_instead(tmp_path: Path) -> None:
    html = render(inspect(load(Branching(), shape=(3, 12, 10)))).html
    assert "<svg" not in html
    assert "There is no drawing of the network, since it is a black box: torch.export cannot follow" in html


@pytest.mark.parametrize("shape", [(7,), (4, 5)])
def test_pages_of_inputs_that_are_no_pictures(shape: tuple[int, ...]) -> None:
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(int(torch.tensor(shape).prod()), 2))
    run = inspect(load(network, shape=shape), [torch.rand(shape), torch.rand(shape)], "1")
    html = render(run).html
    assert "which are no picture" in html
    assert "of no declared range" in html
