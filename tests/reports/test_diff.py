"""Two runs compared: newly failing, mended, changed; by requirement, by image, by map."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.house.test_import import BLOCK
from tests.reports.audits import audited
from tests.reports.findings import finding, images, stored, whole
from tests.reports.test_page import Checker
from xai.reports.artefacts import MemoryStore, put
from xai.reports.diff import Comparison, compare
from xai.reports.html.diff import render_diff
from xai.reports.records import TargetRecord, Value
from xai.reports.run import Run


@pytest.fixture
def parent(tmp_path: Path) -> Run:
    return audited(tmp_path, fallen=2, name="parent")


@pytest.fixture
def child(tmp_path: Path) -> Run:
    return audited(tmp_path, fallen=60)


def turns(found: Comparison) -> dict[str, str]:
    return {one.id: one.turned for one in found.requirements}


def with_findings(run: Run, **update: Any) -> Run:
    return Run(run.record.model_copy(update=update), run.store)


def test_a_run_is_the_same_as_itself(parent: Run) -> None:
    found = compare(parent, parent)
    assert set(turns(found).values()) == {"same"}
    assert found.images == ()
    assert found.declined == []
    assert [found.exit_code(word) for word in ("never", "requirement", "decline", "image")] == [0, 0, 0, 0]  # type: ignore[arg-type]


def test_what_newly_fails_is_told_by_requirement_and_by_image(parent: Run, child: Run) -> None:
    found = compare(parent, child)
    assert turns(found)["ROB"] == "newly failing"
    assert turns(found)["ACC"] == "same"
    (outcome,) = found.declined
    assert outcome.name == "right under attack at 2/255"
    lost = [one for one in found.images if one.lost]
    assert (outcome.lost, outcome.gained, len(lost)) == (55, 0, 55)
    assert lost[0].id == "image-2", "the first two fall in both"
    assert {one.lost for one in lost} == {("right under attack at 2/255",)}
    assert [found.exit_code(word) for word in ("never", "requirement", "decline", "image")] == [0, 1, 1, 1]  # type: ignore[arg-type]


def test_the_way_back_is_mended(parent: Run, child: Run) -> None:
    found = compare(child, parent)
    assert turns(found)["ROB"] == "mended"
    assert found.exit_code("image") == 0
    assert sum(bool(one.gained) for one in found.images) == 55


def test_a_threshold_that_was_lowered_in_between_mends_nothing(parent: Run, child: Run) -> None:
    audit = child.record.audit
    assert audit is not None
    lenient = tuple(
        one.model_copy(update={"demand": one.demand.replace("90 %", "9 %"), "verdict": "holds"})
        for one in audit.requirements
    )
    eased = with_findings(child, audit=audit.model_copy(update={"requirements": lenient}))
    assert turns(compare(parent, eased))["ROB"] == "newly failing"


def test_what_was_skipped_in_the_second_run_newly_fails(parent: Run) -> None:
    lost = tuple(
        one.model_copy(update={"status": "skipped", "reason": "no time", "values": {}}) if one.id == "timing" else one
        for one in parent.findings
    )
    found = compare(parent, with_findings(parent, findings=lost))
    assert turns(found)["FAST"] == "newly failing"
    assert found.exit_code("requirement") == 1


def test_a_few_images_decline_by_chance_and_a_single_one_can_be_asked_for(tmp_path: Path) -> None:
    one, other = audited(tmp_path, fallen=10), audited(tmp_path, fallen=11)
    found = compare(one, other)
    assert found.declined == []
    assert [found.exit_code(word) for word in ("decline", "image")] == [0, 1]  # type: ignore[arg-type]


def rows_of(count: int, **change: Any) -> list[dict[str, Any]]:
    return [{**row, **change} for row in images([True] * count, [0.1] * count)]


def run_of(rows: list[dict[str, Any]]) -> Run:
    store = MemoryStore()
    return whole(stored(rows, ("1/255",), store), store=store)


def test_images_are_matched_by_their_bytes_whatever_they_are_called() -> None:
    renamed = [{**row, "id": f"x{i}"} for i, row in enumerate(rows_of(20))][::-1]
    found = compare(run_of(rows_of(20)), run_of(renamed))
    assert found.images == ()
    assert found.outcomes[0].n == 20


def test_an_image_that_stands_twice_is_matched_twice() -> None:
    twice = rows_of(4, digest="0" * 64)
    wrong = [*twice[:3], {**twice[3], "right": False}]
    found = compare(run_of(twice), run_of(wrong))
    assert [one.id for one in found.images] == ["image-3"]


def test_what_limits_the_comparison_is_said(parent: Run, child: Run) -> None:
    other = run_of([*rows_of(10, label=1), *[{**row, "digest": f"f{i:063x}"} for i, row in enumerate(rows_of(5))]])
    notes = compare(run_of(rows_of(12)), other).notes
    assert "robustness: 2 images are in the first run only, 5 in the second" in notes
    assert "robustness: 5 images have another label in the second run" in notes
    assert "the first run has no requirements" in notes
    assert (
        "no finding has rows of single images in both runs: there is nothing to pair" in compare(whole(), whole()).notes
    )


def mapped(array: np.ndarray, size: float = 0.02) -> Run:
    store = MemoryStore()
    about = finding("explanation", {"highest": Value(value=size)}, name="somehow", about="star")
    about = about.model_copy(
        update={"artefacts": {"map": put(store, array)}, "target": TargetRecord(index=0, name="circle")}
    )
    return whole(about, store=store)


def test_maps_of_the_same_input_and_target_drift() -> None:
    array = np.arange(64, dtype=np.float32).reshape(8, 8)

    def drift(other: np.ndarray) -> float | None:
        (only,) = compare(mapped(array), mapped(other)).maps
        assert (only.input, only.target) == ("star", "circle")
        return only.drift

    assert drift(array**2) == pytest.approx(0)
    assert drift(-array) == pytest.approx(2)
    assert drift(np.zeros_like(array)) is None
    assert drift(array[:4]) is None


def test_the_page_is_whole_and_names_are_text(parent: Run, child: Run) -> None:
    html = render_diff(compare(parent, child))
    checker = Checker(html)
    assert checker.stack == []
    assert "script" not in [tag for tag, _ in checker.tags]
    assert not [attrs for _, attrs in checker.tags if any(name.startswith("on") or name == "style" for name in attrs)]
    assert "1 requirement newly fails and 1 outcome declined." in html
    assert "Newly failing: 55 images" in html
    ids = {attrs["id"] for _, attrs in checker.tags if "id" in attrs}
    assert {str(attrs["href"])[1:] for tag, attrs in checker.tags if tag == "a"} <= ids
    assert "Nothing newly fails that was compared." in render_diff(compare(parent, parent))


def test_the_record_of_a_comparison_survives_its_json(parent: Run, child: Run) -> None:
    found = compare(parent, child)
    assert Comparison.model_validate_json(found.model_dump_json()) == found


def test_the_command_needs_no_torch(parent: Run, child: Run, tmp_path: Path) -> None:
    parent.save(tmp_path / "a")
    child.save(tmp_path / "b")

    def told(*words: str) -> subprocess.CompletedProcess[str]:
        code = BLOCK + f"from xai.cli.main import run; sys.exit(run({['diff', *words]!r}))"
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ})

    worse = told(str(tmp_path / "a"), str(tmp_path / "b"), "-o", str(tmp_path / "out"), "--json")
    assert worse.returncode == 1
    assert "newly failing: ROB" in worse.stderr
    assert json.loads(worse.stdout) == json.loads((tmp_path / "out" / "diff.json").read_text())
    assert (tmp_path / "out" / "diff.html").is_file()
    better = told(str(tmp_path / "b"), str(tmp_path / "a"), "-o", str(tmp_path / "back"))
    assert (better.returncode, better.stdout.strip()) == (0, str(tmp_path / "back" / "diff.html"))
    again = told(str(tmp_path / "b"), str(tmp_path / "a"), "-o", str(tmp_path / "back"))
    assert again.returncode == 2
    never = told(str(tmp_path / "a"), str(tmp_path / "b"), "-o", str(tmp_path / "never"), "--fail-on", "never")
    assert never.returncode == 0
