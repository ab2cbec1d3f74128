"""Which images are looked at closely."""

from __future__ import annotations

from typing import Any

from xai.engine.audit.explained import chosen
from xai.reports.policy.fields import Explanations


def row(name: str, probability: float | None, *, right: bool) -> dict[str, Any]:
    return {"id": name, "probability": probability, "right": right, "finite": probability is not None}


ROWS = [
    row("a", 0.9, right=True),
    row("b", 0.6, right=False),
    row("c", 0.95, right=False),
    row("d", None, right=False),
    row("e", 0.3, right=True),
]
FALLEN = [
    {"id": "a", "confirmed": True, "distance": 0.2},
    {"id": "e", "confirmed": True, "distance": 0.1},
    {"id": "b", "confirmed": False, "distance": 0.01},
    {"id": "c", "distance": None},
]


def test_each_kind_gives_its_first_ones_and_an_image_says_all_its_reasons() -> None:
    asked = Explanations(right=1, wrong=1, least_sure=2, most_attacked=1)
    assert chosen(ROWS, FALLEN, asked) == {
        "a": ["right"],
        "c": ["wrong"],
        "e": ["least sure", "most easily attacked"],
        "b": ["least sure"],
    }


def test_a_kind_that_is_not_asked_for_or_has_too_few_gives_what_there_is() -> None:
    assert chosen(ROWS, [], Explanations(right=0, wrong=9, least_sure=0, most_attacked=3)) == {
        "c": ["wrong"],
        "b": ["wrong"],
    }
