"""Proofs that a run keeps: each is evaluated at once and again by xai check, and none for another input or answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import xai
from tests.engine.test_verify import Folded, images, loaded
from tests.reports.test_check import rehashed
from tests.robustness.verify.files import write_net, write_property
from tests.robustness.victims import Scores
from xai.cli.main import run as command
from xai.engine.recheck import recheck
from xai.models.model import Model
from xai.reports.artefacts import FolderStore, get, get_bytes, get_rows, put, put_bytes, put_rows
from xai.reports.check import Checked
from xai.reports.folder import open_run
from xai.reports.records import Artefact
from xai.reports.run import Run
from xai.robustness.verify.checker import check as checker

EPS = 0.05
Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def net() -> Model:
    return loaded(Folded(), shape=(3,), range=(0.0, 1.0))


@pytest.fixture(scope="module")
def verified(net: Model) -> Run:
    return xai.verify(net, images(net, 8, 1), eps=EPS, timeout=10, keep_proofs=True)


@pytest.fixture
def folder(verified: Run, tmp_path: Path) -> Path:
    verified.save(tmp_path / "run")
    return tmp_path / "run"


def held(run: Run) -> list[dict[str, Any]]:
    return [row for row in run["verification"].rows if row["verdict"] == "holds"]


def test_every_image_that_holds_keeps_a_proof_that_the_checker_confirms(verified: Run) -> None:
    rows = held(verified)
    assert len(rows) >= 3
    assert [row["proof"]["state"] for row in rows] == ["checked"] * len(rows)
    finding = verified.findings[0]
    value = finding.values["proofs checked"]
    assert (value.value, value.n) == (len(rows), len(rows))
    for row in verified["verification"].rows:
        assert ("proof" in row) == (row["verdict"] == "holds")
        assert (f"proof/{row.get('proof', {}).get('number', -1):06}" in finding.artefacts) == ("proof" in row)
    assert "checker that shares no code with the search" in finding.limits


def test_without_being_asked_for_no_proof_is_kept_and_that_is_said(net: Model) -> None:
    finding = xai.verify(net, images(net, 2, 0), eps=EPS, timeout=10).findings[0]
    assert not [name for name in finding.artefacts if name.startswith("proof")]
    assert "none was kept" in finding.limits
    assert "proofs checked" not in finding.values


@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_proofs_within_balls_are_confirmed(norm: str) -> None:
    model = loaded(Scores())
    rows = held(xai.verify(model, images(model, 6, 0), eps=0.05, norm=norm, timeout=10, keep_proofs=True))
    assert [row["proof"]["state"] for row in rows] == ["checked"] * len(rows)
    assert rows


def test_what_the_checker_does_not_confirm_is_not_decided(net: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    checked = checker._above
    monkeypatch.setattr(checker, "_above", lambda found, limits: checked(found, limits) - 100.0)
    rows = xai.verify(net, images(net, 2, 0), eps=1e-4, timeout=10, keep_proofs=True)["verification"].rows
    assert [row["verdict"] for row in rows] == ["not decided"] * 2
    assert all("the independent checker does not confirm its proof" in row["reason"] for row in rows)


def test_an_operator_that_the_checker_does_not_know_is_named(tmp_path: Path, net: Model) -> None:
    curved = loaded(torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Sigmoid(), torch.nn.Linear(4, 2)), shape=(3,))
    run = xai.verify(curved, images(curved, 2, 0), eps=1e-3, timeout=10, keep_proofs=True)
    (row, _) = held(run)
    assert row["proof"]["state"] == "not checked"
    assert "operator sigmoid" in row["proof"]["reason"]
    run.save(tmp_path / "run")
    assert any(
        "2 of 2 verdicts that hold: " in line and "sigmoid" in line
        for line in recheck(tmp_path / "run", curved).unchecked
    )


def test_a_fresh_run_is_proved_again(folder: Path, verified: Run, net: Model) -> None:
    found = recheck(folder, net)
    assert found.complaints == ()
    count = len(held(verified))
    assert f"verification: {count} of {count} proofs, evaluated again for the inputs that are kept" in found.done
    assert not any("verdicts that hold" in line for line in found.unchecked)


def test_a_run_without_proofs_is_told_to_be_unchecked(net: Model, tmp_path: Path) -> None:
    xai.verify(net, images(net, 3, 0), eps=1e-3, timeout=10).save(tmp_path / "run")
    lines = recheck(tmp_path / "run", net).unchecked
    assert "verification: 3 of 3 verdicts that hold: their proofs were not kept" in lines


Tamper = Callable[[Path, Run], None]


def changed(folder: Path, name: str, fresh: Artefact, old: Artefact) -> None:
    """Put an artefact in another's place, with all digests."""
    record = json.loads((folder / "record.json").read_text())
    record["findings"][0]["artefacts"][name] = fresh.model_dump()
    (folder / "record.json").write_text(json.dumps(record))
    manifest = json.loads((folder / "manifest.json").read_text())
    shared = any(one["path"] == old.path for one in record["findings"][0]["artefacts"].values())
    if not shared:
        manifest["files"].pop(old.path)
        (folder / old.path).unlink()
    manifest["files"][fresh.path] = fresh.sha256
    (folder / "manifest.json").write_text(json.dumps(manifest))
    rehashed(folder)


def first(run: Run, kind: str) -> tuple[str, Artefact]:
    name = f"{kind}/{held(run)[0]['proof']['number']:06}"
    return name, run.findings[0].artefacts[name]


def another_input(folder: Path, run: Run) -> None:
    name, old = first(run, "proved")
    store = FolderStore(folder)
    changed(folder, name, put(store, get(store, old) + np.float32(1e-3)), old)


def another_proof(folder: Path, run: Run) -> None:
    name, old = first(run, "proof")
    other = run.findings[0].artefacts[f"proof/{held(run)[1]['proof']['number']:06}"]
    changed(folder, name, other, old)


def a_digit(folder: Path, run: Run) -> None:
    name, old = first(run, "proof")
    content = bytearray(get_bytes(run.store, old))
    content[-1] ^= 1
    changed(folder, name, put_bytes(FolderStore(folder), bytes(content), "proof"), old)


def another_answer(folder: Path, run: Run) -> None:
    """Say of an image that holds that its answer is the other one."""
    old = run.findings[0].artefacts["rows"]
    name = held(run)[0]["id"]
    rows = [
        {**row, "predicted": 1 - row["predicted"], "label": 1 - row["label"]} if row["id"] == name else row
        for row in get_rows(run.store, old)
    ]
    changed(folder, "rows", put_rows(FolderStore(folder), rows), old)


@pytest.mark.parametrize("tamper", [another_input, another_proof, a_digit, another_answer])
def test_a_proof_of_something_else_is_found(tamper: Tamper, folder: Path, verified: Run, net: Model) -> None:
    tamper(folder, verified)
    found: Checked = recheck(folder, net)
    complaints = [one for one in found.complaints if one.what.startswith("verification: ")]
    assert [one.what for one in complaints] == [f"verification: {held(verified)[0]['id']}"], found
    assert "its proof is" in complaints[0].words


def test_a_larger_size_is_not_what_was_proved(folder: Path, verified: Run, net: Model) -> None:
    record = json.loads((folder / "record.json").read_text())
    record["findings"][0]["parameters"][f"epsilon {EPS}"] = 0.06
    (folder / "record.json").write_text(json.dumps(record))
    rehashed(folder)
    found = recheck(folder, net)
    assert sum("its proof is wrong" in one.words for one in found.complaints) == len(held(verified))


def test_the_command_keeps_them_and_refuses_them_elsewhere(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = ["verify", "sample:digits", "sample:digits:0-2", "--eps", "1e-3", "--keep-proofs", "-o", "out"]
    assert command(asked) == 0
    found = open_run(tmp_path / "out")
    assert [row["proof"]["state"] for row in get_rows(found.store, found.findings[0].artefacts["rows"])] == [
        "checked"
    ] * 2
    assert "--keep-proofs" in found.record.command
    page = (tmp_path / "out" / "report.html").read_text()
    assert "proofs checked by a second program" in page
    assert "proof checked" in page
    capsys.readouterr()
    assert command(["check", "out", "--model", "sample:digits"]) == 0
    assert "verification: 2 of 2 proofs, evaluated again" in capsys.readouterr().out
    write_net(Path("net.onnx"))
    write_property(Path("never.vnnlib"), 2.01)
    assert command(["verify", "net.onnx", "never.vnnlib", "--keep-proofs"]) == 2
    assert "--proof FILE" in capsys.readouterr().err


STATED = """
properties:
  - {name: it rises, require: "y[0] - y[1] >= -100", box: [0, 1]}
  - {name: it falls, require: "y[0] - y[1] <= -100", box: [0, 1]}
  - {name: within a ball, stays: 0, near: x.npy, within: 0.05, norm: l2}
  - {name: alike, regardless: [0], output: 0, tolerance: 1000, box: [0, 1]}
"""


@pytest.fixture
def stated(net: Model, tmp_path: Path) -> Path:
    place = next(x for x in images(net, 40, 0)[0] if int(net(x[None]).argmax()) == 0)
    np.save(tmp_path / "x.npy", place.numpy())
    (tmp_path / "p.yaml").write_text(STATED)
    xai.verify(net, properties=tmp_path / "p.yaml", timeout=10, keep_proofs=True).save(tmp_path / "run")
    return tmp_path / "run"


def test_properties_keep_proofs_that_are_evaluated_again(stated: Path, net: Model) -> None:
    rises, falls, ball, alike = open_run(stated).findings
    assert [one.verdict for one in (rises, falls, ball, alike)] == ["holds", "violated", "holds", "holds"]
    assert rises.values["proof"].value == ball.values["proof"].value == "checked"
    assert str(alike.values["proof"].value).startswith("not checked: it is about two inputs")
    assert "proof" not in falls.values
    found = recheck(stated, net)
    assert found.complaints == ()
    assert {"property/0: its proof, evaluated again", "property/2: its proof, evaluated again"} <= set(found.done)
    assert any(
        line.startswith("property/3: that it is 'holds': not checked: it is about two") for line in found.unchecked
    )
    assert '<th scope="row">proof</th><td>checked</td>' in (stated / "report.html").read_text()


def test_a_property_that_was_turned_into_one_that_holds_needs_a_proof_of_its_own(stated: Path, net: Model) -> None:
    record = json.loads((stated / "record.json").read_text())
    rises, falls = record["findings"][:2]
    falls["verdict"] = "holds"
    for name in ("counterexample", "outputs"):
        falls["artefacts"].pop(name)
    falls["artefacts"]["proof"] = rises["artefacts"]["proof"]
    falls["values"]["proof"] = rises["values"]["proof"]
    (stated / "record.json").write_text(json.dumps(record))
    rehashed(stated)
    complaints = [one.words for one in recheck(stated, net).complaints if one.what.startswith("property/1")]
    assert len(complaints) == 1
    assert "its proof is wrong" in complaints[0]
