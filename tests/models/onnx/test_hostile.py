"""Hostile ONNX files: nothing outside of the folder is read, nothing absurd is computed, and one line says why."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.hostile import ENDLESS, GRAPHS, GROWING
from tests.hostile.base import Case
from tests.hostile.graphs import SECRET, pointing
from xai.api import load
from xai.models.onnx import program, runtime

Refused = Callable[[Case], str]


@pytest.mark.parametrize("case", GRAPHS, ids=str)
def test_a_hostile_graph_is_refused_before_it_is_computed(refused: Refused, case: Case) -> None:
    begun = time.perf_counter()
    assert case.words in refused(case)
    assert time.perf_counter() - begun < 30


def test_data_in_the_right_place_are_read(tmp_path: Path) -> None:
    (tmp_path / "d.bin").write_bytes(SECRET.tobytes())
    assert load(pointing(tmp_path / "good.onnx", "d.bin")).graph is not None


@pytest.mark.parametrize("case", ENDLESS, ids=str)
def test_a_loop_without_end_is_ended(refused: Refused, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "SECONDS", 1)
    begun = time.perf_counter()
    assert case.words in refused(case)
    assert time.perf_counter() - begun < 30


def test_folding_that_takes_too_long_is_ended(refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "SECONDS", 0)
    monkeypatch.setattr(program, "MAX_FOLDED", 2**40)
    case = next(case for case in GROWING if case.attack == "growing: many tiled")
    assert "more than 0 s to compute" in refused(case)
